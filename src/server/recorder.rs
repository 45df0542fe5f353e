//! The multitrack recorder: per client and stay one sound file, a stereo mixdown, and projects that place
//! every file where it began (docs/PROTOCOL.md §8, "Recording").
//!
//! Two ends. The [`Tap`] belongs to the core: the tick puts each client's sound into preallocated wait-free
//! rings, each piece marked with its tick, and never learns what becomes of it. The [`Scribe`] takes what is
//! there and writes files; [`Recorder`] is the thread that lets it work. What comes too fast for the rings
//! is dropped and counted, and because every mark carries its tick the files have silence there and
//! everything else stays in its place.
//!
//! **Ticks.** The core numbers its ticks 0, 1, 2 … Between ticks, `tick` is the number of the tick that
//! comes next: who leaves at tick 7 was last heard in tick 6.
//!
//! **A session** begins with the first recorded tick while recording is on, and ends when nobody is recorded any
//! more or recording stops. A file is exactly as long as its client's stay: from its first tick with a stream *and*
//! infos (only then the core has sound of it to record) to the tick at which it left.
//!
//! **Strangers** cannot fill the rings with anything but sound: the scribe hears of a client with its first recorded
//! sound, of names now and then, and room is kept so that every leave and the stop can always be told.

mod flac;
mod folder;
mod names;
mod projects;
mod scribe;
mod session;
mod sound_file;
mod studio;
mod tap;
mod thread;
mod wav;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rtrb::RingBuffer;

use crate::units::{ChannelId, FrameSize, Layout, WIRE_RATE_HZ};

pub use folder::DirectoryError;
pub use scribe::Scribe;
pub(super) use studio::Studio;
pub use tap::Tap;
pub use thread::Recorder;

/// Recording stops when the disk has less room than this, in bytes, unless told otherwise.
pub const DEFAULT_MIN_FREE_BYTES: u64 = 1 << 30;
/// Sound that the rings hold for everyone in stereo, in seconds: a disk may stall for as long.
const RING_SECONDS: usize = 1;
/// Small servers' rings are as large as if they had this many slots.
const MIN_RING_SLOTS: usize = 30;
/// Joins, leaves and the like that wait for the scribe. Far more than the slots of a server.
const NOTE_SLOTS: usize = 4096;
/// Reports that wait for the tap's owner.
const REPORT_SLOTS: usize = 64;

/// What is recorded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderOptions {
    /// Sessions get their folders in here.
    pub directory: PathBuf,
    /// How sound is stored.
    pub format: RecordingFormat,
    /// Recording stops when the disk has less room than this, in bytes.
    pub min_free_bytes: u64,
}

impl RecorderOptions {
    /// The usual choices for recordings into `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, format: RecordingFormat::default(), min_free_bytes: DEFAULT_MIN_FREE_BYTES }
    }
}

/// How sound is stored; always at 48 kHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordingFormat {
    /// WAV of 16 bits, as Jamulus does.
    #[default]
    Wav16,
    /// WAV of 24 bits.
    Wav24,
    /// FLAC of 16 bits: the same sound as [`Self::Wav16`] in less space.
    Flac,
}

impl RecordingFormat {
    /// Bits per sample.
    const fn bits(self) -> u32 {
        match self {
            Self::Wav16 | Self::Flac => 16,
            Self::Wav24 => 24,
        }
    }

    /// Ending of the files' names.
    const fn extension(self) -> &'static str {
        match self {
            Self::Wav16 | Self::Wav24 => "wav",
            Self::Flac => "flac",
        }
    }
}

/// What the recorder has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecorderReport {
    /// The first sound has come: a session is being recorded.
    SessionBegan {
        /// Its folder.
        folder: PathBuf,
    },
    /// A session's files are finished.
    SessionEnded {
        /// Its folder.
        folder: PathBuf,
    },
    /// Recording is off until it is started again.
    Stopped {
        /// One sentence with the remedy, for the admin and for clients: it names no paths.
        reason: String,
    },
    /// Something goes wrong, and recording goes on.
    Warning {
        /// One sentence that names no paths.
        reason: String,
    },
    /// So many ticks of single clients have been replaced by silence since the last such report.
    LostFrames(u64),
}

/// Both ends of a recorder that is off, for a core of `slots` slots that ticks every `tick` samples.
pub fn recorder(options: RecorderOptions, tick: FrameSize, slots: usize) -> (Tap, Scribe) {
    let values = RING_SECONDS * slots.max(MIN_RING_SLOTS) * WIRE_RATE_HZ as usize * Layout::Stereo.channels();
    // If everyone sends mono there are twice as many marks.
    let marks = values / tick.samples();
    let (note_in, note_out) = RingBuffer::new(NOTE_SLOTS);
    let (mark_in, mark_out) = RingBuffer::new(marks);
    let (sample_in, sample_out) = RingBuffer::new(values);
    let (report_in, report_out) = RingBuffer::new(REPORT_SLOTS);
    let ended = Arc::new(AtomicU64::new(0));
    let tap_ends = tap::Ends {
        notes: note_in,
        marks: mark_in,
        samples: sample_in,
        reports: report_out,
        ended: Arc::clone(&ended),
    };
    let scribe_ends =
        scribe::Ends { notes: note_out, marks: mark_out, samples: sample_out, reports: report_in, ended };
    (Tap::new(tap_ends, tick, slots), Scribe::new(scribe_ends, options, tick))
}

/// What happens between ticks: it precedes everything of `tick` and later.
struct Note {
    tick: u64,
    what: What,
}

enum What {
    /// Recording is on.
    Start { generation: u64 },
    /// Recording is off.
    Stop,
    /// Somebody's first sound comes.
    Join { channel: ChannelId, address: SocketAddr, name: String },
    /// Somebody has told another name.
    Rename { channel: ChannelId, name: String },
    /// Somebody's sound begins, or goes on in another layout.
    Sound { channel: ChannelId, layout: Layout },
    /// Somebody is gone, and was called `last_name` at the end if that has not been told.
    Leave { channel: ChannelId, last_name: Option<String> },
    /// Where the next session goes.
    Directory(PathBuf),
}

/// One client's tick: its samples are the next in the other ring.
#[derive(Clone, Copy)]
struct Mark {
    tick: u64,
    channel: ChannelId,
    layout: Layout,
}

/// A report on its way to the tap.
enum Tell {
    Began(PathBuf),
    Ended(PathBuf),
    Warning(String),
    /// The recording that was started as number `generation` could not go on.
    Failed {
        generation: u64,
        reason: String,
    },
}
