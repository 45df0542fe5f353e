//! A client made of a socket and nothing else: it joins any server, ours or Jamulus's, answers what servers
//! ask, plays a tone or silence in real time, and keeps everything that it is told.

#![expect(clippy::disallowed_methods, reason = "real servers are asked through real sockets")]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jamulet::audio::{Decoder, Encoder};
use jamulet::net::clock_now;
use jamulet::protocol::{
    ChannelInfo, ConnlessMessage, Datagram, JitterBufferSize, Message, PacketLayout, TransportProperties,
    classify, is_connless,
};
use jamulet::session::Connection;
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat, WIRE_RATE_HZ};

/// How long a server may take for anything: a broken one fails the test instead of hanging it.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A question without acknowledgement is asked again this often.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// One look at the socket.
const POLL: Duration = Duration::from_millis(1);

/// 128-sample stereo frames, normal quality, one to a packet.
pub const USUAL: PacketLayout = layout(FrameSize::Samples128, Layout::Stereo);

/// Normal quality, one frame to a packet, with counters.
pub const fn layout(frame: FrameSize, channels: Layout) -> PacketLayout {
    PacketLayout {
        format: StreamFormat::stock(frame, channels, Quality::Normal),
        block_factor: 1,
        counter: true,
    }
}

/// A client of one server.
pub struct Probe {
    socket: UdpSocket,
    server: SocketAddr,
    connection: Connection,
    player: Option<Player>,
    /// Connected messages received, oldest first.
    pub messages: Vec<Message>,
    /// Connection-less messages received, oldest first.
    pub connless: Vec<ConnlessMessage>,
    /// Audio packets received, with their times, oldest first.
    pub packets: Vec<(Instant, Vec<u8>)>,
}

/// The sounding half of a probe that has joined.
struct Player {
    info: ChannelInfo,
    layout: PacketLayout,
    encoder: Encoder,
    /// What to play at sample n, both sides.
    signal: fn(usize) -> f32,
    counter: u8,
    start: Instant,
    sent_samples: usize,
}

impl Probe {
    /// A socket that can ask `server` things; it does not join.
    pub fn open(server: SocketAddr) -> Result<Self> {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(POLL))?;
        Ok(Self {
            socket,
            server,
            connection: Connection::new(clock_now()),
            player: None,
            messages: Vec::new(),
            connless: Vec::new(),
            packets: Vec::new(),
        })
    }

    /// Joins `server` as `name` and plays silence.
    pub fn join(server: SocketAddr, name: &str, layout: PacketLayout) -> Result<Self> {
        Self::join_playing(server, name, layout, |_| 0.0)
    }

    /// Joins `server` as `name` and plays `signal`.
    pub fn join_playing(
        server: SocketAddr,
        name: &str,
        layout: PacketLayout,
        signal: fn(usize) -> f32,
    ) -> Result<Self> {
        let mut probe = Self::open(server)?;
        probe.player = Some(Player {
            info: ChannelInfo { name: name.to_owned(), ..ChannelInfo::default() },
            layout,
            encoder: Encoder::new(layout.format)?,
            signal,
            counter: 0,
            start: Instant::now(),
            sent_samples: 0,
        });
        Ok(probe)
    }

    /// Its own address, as a server on this machine sees it.
    pub fn port(&self) -> Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// The socket, for options that only a test knows.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Its channel on the server, once told.
    pub fn channel(&self) -> Option<ChannelId> {
        self.messages.iter().rev().find_map(|message| match message {
            Message::ClientId(channel) => Some(*channel),
            _ => None,
        })
    }

    /// What it has heard so far, interleaved: every packet decoded.
    pub fn heard(&self) -> Result<Vec<f32>> {
        let layout = self.player.as_ref().context("this probe has not joined")?.layout;
        let mut decoder = Decoder::new(layout.format)?;
        let mut frame = vec![0.0; layout.format.frame.samples() * layout.format.layout.channels()];
        let mut all = Vec::new();
        for (_, packet) in &self.packets {
            for (coded, _) in layout.frames(packet).context("a packet of the wrong size")? {
                decoder.decode(Some(coded), &mut frame);
                all.extend_from_slice(&frame);
            }
        }
        Ok(all)
    }

    /// Tells the server something.
    pub fn say(&mut self, message: &Message) {
        self.connection.send(clock_now(), message);
    }

    /// Sends a connection-less message, once.
    pub fn send(&self, message: &ConnlessMessage) -> Result<()> {
        self.socket.send_to(&message.to_datagram(), self.server)?;
        Ok(())
    }

    /// Asks until an answer with `id` comes; `None` when none does within `patience`.
    pub fn ask(
        &mut self,
        question: &ConnlessMessage,
        id: u16,
        patience: Duration,
    ) -> Result<Option<ConnlessMessage>> {
        let known = self.connless.len();
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.send(question)?;
            let answer = |probe: &Self| probe.connless[known..].iter().any(|message| message.id() == id);
            if self.runs_until(ASK_AGAIN, answer)? {
                return Ok(self.connless[known..].iter().find(|message| message.id() == id).cloned());
            }
        }
        Ok(None)
    }

    /// Plays on until `done`; an error after [`PATIENCE`].
    pub fn wait_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        if self.runs_until(PATIENCE, done)? {
            return Ok(());
        }
        bail!(
            "{what} did not happen; messages: {:?}; connless: {:?}; {} packets",
            self.messages,
            self.connless,
            self.packets.len()
        )
    }

    /// Waits for a connected message for which `find` finds something.
    pub fn wait_for<T>(&mut self, what: &str, find: impl Fn(&Message) -> Option<T>) -> Result<T> {
        self.wait_until(what, |probe| probe.messages.iter().any(|message| find(message).is_some()))?;
        self.messages.iter().find_map(find).context("it was there")
    }

    /// Plays on for a while.
    pub fn run_for(&mut self, duration: Duration) -> Result<()> {
        self.runs_until(duration, |_| false).map(drop)
    }

    /// Plays on until `done` or for `limit`; tells whether it was `done`.
    pub fn runs_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 20_000];
        while !done(self) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.play()?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.server => self.take(&buffer[..length]),
                Ok(_) => {}
                // Refused: the server is not up (yet, or any more).
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Sends the packets that are due, and what the connection has to say.
    fn play(&mut self) -> Result<()> {
        let Some(player) = &mut self.player else { return Ok(()) };
        let due = (player.start.elapsed().as_secs_f64() * f64::from(WIRE_RATE_HZ)) as usize;
        while player.sent_samples <= due {
            let packet = player.next_packet();
            self.socket.send_to(&packet, self.server)?;
        }
        let now = clock_now();
        self.connection.handle_timeout(now);
        while let Some(datagram) = self.connection.poll_transmit() {
            self.socket.send_to(&datagram, self.server)?;
        }
        Ok(())
    }

    fn take(&mut self, datagram: &[u8]) {
        match classify(datagram) {
            Datagram::Audio(packet) => self.packets.push((Instant::now(), packet.to_vec())),
            Datagram::Frame(frame) if is_connless(frame.id) => {
                self.connless.extend(ConnlessMessage::parse(frame.id, frame.body));
            }
            Datagram::Frame(frame) => {
                if let Some(message) = self.connection.handle_frame(clock_now(), &frame) {
                    self.answer(&message);
                    self.messages.push(message);
                }
            }
        }
    }

    /// Answers as a client does.
    fn answer(&mut self, question: &Message) {
        let Some(player) = &self.player else { return };
        let answer = match question {
            Message::RequestSplitSupport => {
                self.connection.set_may_split(true);
                Message::SplitSupported
            }
            Message::RequestTransportProperties => {
                Message::TransportProperties(TransportProperties::new(player.layout))
            }
            Message::RequestJitterBufferSize => Message::JitterBufferSize(JitterBufferSize::Auto),
            Message::RequestChannelInfo => Message::ChannelInfo(player.info.clone()),
            _ => return,
        };
        self.connection.send(clock_now(), &answer);
    }
}

impl Player {
    fn next_packet(&mut self) -> Vec<u8> {
        let format = self.layout.format;
        let channels = format.layout.channels();
        let mut packet = Vec::with_capacity(self.layout.packet_bytes());
        for _ in 0..self.layout.block_factor {
            let first = self.sent_samples;
            let frame: Vec<f32> = (0..format.frame.samples() * channels)
                .map(|value| (self.signal)(first + value / channels))
                .collect();
            let mut coded = vec![0; format.frame_bytes()];
            self.encoder.encode(&frame, &mut coded);
            packet.extend_from_slice(&coded);
            if self.layout.counter {
                packet.push(self.counter);
                self.counter = self.counter.wrapping_add(1);
            }
            self.sent_samples += format.frame.samples();
        }
        packet
    }
}

/// Waits for a datagram on an IPv4 `socket` and returns its type of service.
pub fn receive_tos(socket: &UdpSocket) -> Result<u8> {
    use std::os::fd::AsRawFd as _;
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is a C int that outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVTOS,
            (&raw const on).cast(),
            length,
        )
    };
    anyhow::ensure!(set == 0, std::io::Error::last_os_error());
    let mut data = [0_u8; 2000];
    // Aligned as control messages must be, and with room for several.
    let mut control = [0_u64; 16];
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: every pointer in `message` is to a buffer of the length given that outlives the call; zeroes are a
    // valid msghdr; control messages are walked by the system's own macros within what it has filled.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        anyhow::ensure!(
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) >= 0,
            std::io::Error::last_os_error()
        );
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::IPPROTO_IP && (*header).cmsg_type == libc::IP_TOS {
                return Ok(*libc::CMSG_DATA(header));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    bail!("the system does not tell the type of service")
}
