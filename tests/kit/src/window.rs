//! A screen that is none, and the host's window on it into which an editor is embedded.

use std::io::{BufRead, BufReader, BufWriter};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ButtonPressEvent, ConfigureWindowAux, ConnectionExt,
    CreateWindowAux, EventMask, ImageFormat, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, KeyButMask, KeyPressEvent,
    MOTION_NOTIFY_EVENT, MapState, Motion, MotionNotifyEvent, PropMode, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::pace;

/// Time between the parts of a click.
const HAND: Duration = Duration::from_millis(50);

/// An X server without a screen (Xvfb); ends with this value.
pub struct Screen {
    server: Child,
    name: String,
}

impl Screen {
    /// Starts a server with one screen of this size in pixels.
    pub fn start([width, height]: [u32; 2]) -> Result<Self> {
        let mut server = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-noreset",
                "-nolisten",
                "tcp",
                "-screen",
                "0",
                &format!("{width}x{height}x24"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("Xvfb cannot be started: `cargo xtask setup` installs it")?;
        let mut number = String::new();
        let output = server.stdout.take().context("Xvfb's output is piped")?;
        BufReader::new(output).read_line(&mut number)?;
        let number: u32 = number.trim().parse().context("Xvfb did not say which display it serves")?;
        Ok(Self { server, name: format!(":{number}") })
    }

    /// What `DISPLAY` must be for programs that shall use it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What can be seen on it.
    pub fn picture(&self) -> Result<Picture> {
        let (connection, screen) = self.connect()?;
        picture(&connection, connection.setup().roots[screen].root)
    }

    /// Sizes of the programs' windows that can be seen.
    pub fn windows(&self) -> Result<Vec<[u16; 2]>> {
        let (connection, screen) = self.connect()?;
        let root = connection.setup().roots[screen].root;
        let mut sizes = Vec::new();
        for window in connection.query_tree(root)?.reply()?.children {
            if connection.get_window_attributes(window)?.reply()?.map_state == MapState::VIEWABLE {
                let geometry = connection.get_geometry(window)?.reply()?;
                sizes.push([geometry.width, geometry.height]);
            }
        }
        Ok(sizes)
    }

    fn connect(&self) -> Result<(RustConnection, usize)> {
        x11rb::connect(Some(&self.name)).context("no connection to the X server")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have died by itself; then there is nothing to end.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Says on the display called `name` how dense its screen is, as desktops do: 96 dots per inch are a scale of 1.
pub fn set_dots_per_inch(name: &str, dots: u32) -> Result<()> {
    let (connection, screen) = x11rb::connect(Some(name)).context("no connection to the X server")?;
    let root = connection.setup().roots[screen].root;
    let resources = format!("Xft.dpi:\t{dots}\n");
    let (property, kind) = (AtomEnum::RESOURCE_MANAGER, AtomEnum::STRING);
    connection.change_property8(PropMode::REPLACE, root, property, kind, resources.as_bytes())?.check()?;
    Ok(connection.sync()?)
}

/// The host's window: what is in it is the plugin's.
pub struct HostWindow {
    connection: RustConnection,
    window: u32,
}

impl HostWindow {
    /// Opens a window of this size in pixels at the top left of the display called `name`.
    pub fn open(name: &str, [width, height]: [u32; 2]) -> Result<Self> {
        let (connection, screen) = x11rb::connect(Some(name)).context("no connection to the X server")?;
        let screen = &connection.setup().roots[screen];
        let (root, visual, black) = (screen.root, screen.root_visual, screen.black_pixel);
        let window = connection.generate_id()?;
        let attributes = CreateWindowAux::new().background_pixel(black);
        let (width, height) = (u16::try_from(width)?, u16::try_from(height)?);
        let (depth, class) = (x11rb::COPY_DEPTH_FROM_PARENT, WindowClass::INPUT_OUTPUT);
        connection
            .create_window(depth, window, root, 0, 0, width, height, 0, class, visual, &attributes)?
            .check()?;
        connection.map_window(window)?.check()?;
        connection.sync()?;
        Ok(Self { connection, window })
    }

    /// The window's X11 id.
    pub fn id(&self) -> u32 {
        self.window
    }

    /// Gives the window another size in pixels.
    pub fn resize(&self, [width, height]: [u32; 2]) -> Result<()> {
        let size = ConfigureWindowAux::new().width(width).height(height);
        self.connection.configure_window(self.window, &size)?.check()?;
        Ok(self.connection.sync()?)
    }

    /// Sizes in pixels of the windows that have been embedded.
    pub fn embedded(&self) -> Result<Vec<[u32; 2]>> {
        let children = self.connection.query_tree(self.window)?.reply()?.children;
        let mut sizes = Vec::new();
        for child in children {
            // A window may vanish between the two questions.
            if let Ok(geometry) = self.connection.get_geometry(child)?.reply() {
                sizes.push([geometry.width.into(), geometry.height.into()]);
            }
        }
        Ok(sizes)
    }

    /// Clicks into the embedded window, at a place in its pixels.
    pub fn click(&self, [x, y]: [i16; 2]) -> Result<()> {
        let window = self.child()?;
        let moved = MotionNotifyEvent {
            response_type: MOTION_NOTIFY_EVENT,
            detail: Motion::NORMAL,
            state: KeyButMask::default(),
            ..self.input(window, x, y)
        };
        self.connection.send_event(false, window, EventMask::POINTER_MOTION, moved)?.check()?;
        self.connection.sync()?;
        // A hand takes its time, too: whatever is under the pointer is drawn as such before it is pressed.
        pace::sleep(HAND);
        for (response_type, state) in
            [(BUTTON_PRESS_EVENT, KeyButMask::default()), (BUTTON_RELEASE_EVENT, KeyButMask::BUTTON1)]
        {
            let at = self.input(window, x, y);
            let event = ButtonPressEvent {
                response_type,
                detail: 1,
                sequence: at.sequence,
                time: at.time,
                root: at.root,
                event: at.event,
                child: at.child,
                root_x: at.root_x,
                root_y: at.root_y,
                event_x: at.event_x,
                event_y: at.event_y,
                state,
                same_screen: true,
            };
            let mask = EventMask::BUTTON_PRESS | EventMask::BUTTON_RELEASE;
            self.connection.send_event(false, window, mask, event)?.check()?;
            self.connection.sync()?;
            pace::sleep(HAND);
        }
        Ok(())
    }

    /// Presses and releases a key in the embedded window, by its X11 key code.
    pub fn key(&self, code: u8) -> Result<()> {
        let window = self.child()?;
        for response_type in [KEY_PRESS_EVENT, KEY_RELEASE_EVENT] {
            let at = self.input(window, 1, 1);
            let event = KeyPressEvent {
                response_type,
                detail: code,
                sequence: at.sequence,
                time: at.time,
                root: at.root,
                event: at.event,
                child: at.child,
                root_x: at.root_x,
                root_y: at.root_y,
                event_x: at.event_x,
                event_y: at.event_y,
                state: KeyButMask::default(),
                same_screen: true,
            };
            let mask = EventMask::KEY_PRESS | EventMask::KEY_RELEASE;
            self.connection.send_event(false, window, mask, event)?.check()?;
        }
        Ok(self.connection.sync()?)
    }

    fn child(&self) -> Result<u32> {
        let children = self.connection.query_tree(self.window)?.reply()?.children;
        children.first().copied().context("nothing is embedded")
    }

    /// What all events of pointer and keys have in common.
    fn input(&self, window: u32, x: i16, y: i16) -> MotionNotifyEvent {
        let root = self.connection.setup().roots[0].root;
        MotionNotifyEvent {
            response_type: 0,
            detail: Motion::NORMAL,
            sequence: 0,
            time: x11rb::CURRENT_TIME,
            root,
            event: window,
            child: x11rb::NONE,
            root_x: x,
            root_y: y,
            event_x: x,
            event_y: y,
            state: KeyButMask::default(),
            same_screen: true,
        }
    }

    /// What can be seen in the window.
    pub fn picture(&self) -> Result<Picture> {
        picture(&self.connection, self.window)
    }
}

impl Drop for HostWindow {
    fn drop(&mut self) {
        // The connection may be lost already; then so is the window.
        let _ = self.connection.destroy_window(self.window);
        let _ = self.connection.flush();
    }
}

/// What can be seen in a window.
fn picture(connection: &RustConnection, window: u32) -> Result<Picture> {
    let geometry = connection.get_geometry(window)?.reply()?;
    let (width, height) = (geometry.width, geometry.height);
    let image =
        connection.get_image(ImageFormat::Z_PIXMAP, window, 0, 0, width, height, u32::MAX)?.reply()?;
    ensure!(image.depth == 24, "the screen has {} bits per pixel, not 24", image.depth);
    // Four bytes per pixel: blue, green, red, unused.
    let rgb = image.data.chunks_exact(4).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
    Ok(Picture { width: width.into(), height: height.into(), rgb })
}

/// Pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green, blue, from the top left, row by row.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// How many different colours there are: 1 for an empty window, hundreds for smoothed text.
    pub fn colours(&self) -> usize {
        let mut colours: Vec<&[u8]> = self.rgb.chunks_exact(3).collect();
        colours.sort_unstable();
        colours.dedup();
        colours.len()
    }

    /// Share of the pixels that have exactly this colour, 0..=1.
    pub fn share(&self, colour: [u8; 3]) -> f64 {
        let count = self.rgb.chunks_exact(3).filter(|pixel| **pixel == colour).count();
        count as f64 / (self.rgb.len() / 3).max(1) as f64
    }

    /// Writes a PNG file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let write = || -> Result<()> {
            let file = BufWriter::new(std::fs::File::create(path)?);
            let mut encoder = png::Encoder::new(file, self.width, self.height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            Ok(encoder.write_header()?.write_image_data(&self.rgb)?)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}
