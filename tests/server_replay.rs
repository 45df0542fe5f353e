//! The clients' side of real captures, played to our server: it says what the stock server said.
//!
//! The clients' datagrams arrive when they did; only acknowledgements are ours to invent, because they
//! name our counters: everything we send is acknowledged at once. What we say to each client must equal
//! what the stock server said, payload by payload in order, but for what [`Difference`] names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jamulet::protocol::{
    ACK_ID, ConnlessMessage, Datagram, JitterBufferSize, Message, Os, RecorderState, SPLIT_ID, classify,
    is_connless, split_bodies, write_frame,
};
use jamulet::server::{
    Command, Config, Core, RecordCommand, RecorderOptions, ToldFeatures, WallTime, recorder,
};
use jamulet::units::{FrameSize, Time};
use jamulet_testkit::pcap::{Captured, read};

const SERVER_PORT: u16 = 22124;
/// Between two level lists. Source: docs/PROTOCOL.md §4.
const LEVEL_INTERVAL: Duration = Duration::from_millis(269);

/// CONN_CLIENTS_LIST.
const LIST_ID: u16 = 24;

/// One message on the wire: id and body, whole or a part in its container.
type Payload = (u16, Vec<u8>);

/// Where we mean to say something else than the stock server. Every capture names its own, and each must
/// make a difference there: none is left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// We tell our own version and system.
    Version,
    /// 3.9.1 has no raw audio to offer; we offer it to everyone, right after the id, as 4.0 does.
    RawOffer,
    /// A stock server tells its buffer's automatic size (6 at first) before the client's own setting has come.
    /// We tell ours when there is a buffer, and its sizes are those that our buffer needs.
    AutoSizes,
    /// A stock server sends a long welcome in one datagram of any length; we wait until the client has said
    /// that it understands split messages, and split.
    SplitWelcome,
    /// 3.9.1 knows nothing of features (1020) and the welcome (1022); we answer as 4.0 does.
    Queries,
    /// A stock server meters a channel from its first datagram; we do once it has told who it is, so that a
    /// single forged datagram draws nothing.
    Levels,
}

/// A capture and its server's settings.
struct Case {
    name: &'static str,
    config: Config,
    /// It records from the beginning, until the captured admin turns that off.
    records: bool,
    differences: &'static [Difference],
}

/// What somebody was told, by the port that it was sent to.
#[derive(Default)]
struct Told {
    /// Connected messages in order, resends left out.
    said: Vec<Payload>,
    /// Connection-less messages in order; level lists apart.
    connless: Vec<Payload>,
    /// When level lists came, and how many clients were in them.
    levels: Vec<(Time, usize)>,
    /// When the first client list came that was not empty.
    listed: Option<Time>,
    /// Acknowledgements: id and counter.
    acks: Vec<(u16, u8)>,
    /// Size of the last sound packet.
    size: Option<usize>,
    packets: usize,
    longest: usize,
    last_counter: Option<u8>,
}

impl Told {
    fn note(&mut self, at: Time, datagram: &[u8]) {
        self.longest = self.longest.max(datagram.len());
        match classify(datagram) {
            Datagram::Audio(packet) => {
                self.size = Some(packet.len());
                self.packets += 1;
            }
            Datagram::Frame(frame) if frame.id == ACK_ID => {
                self.acks.push((u16::from_le_bytes([frame.body[0], frame.body[1]]), frame.counter));
            }
            Datagram::Frame(frame) if is_connless(frame.id) => {
                match ConnlessMessage::parse(frame.id, frame.body) {
                    Ok(ConnlessMessage::LevelList(levels)) => self.levels.push((at, levels.len())),
                    _ => self.connless.push((frame.id, frame.body.to_vec())),
                }
            }
            Datagram::Frame(frame) => {
                if frame.id == LIST_ID && !frame.body.is_empty() {
                    self.listed.get_or_insert(at);
                }
                if self.last_counter.replace(frame.counter) != Some(frame.counter) {
                    self.said.push((frame.id, frame.body.to_vec()));
                }
            }
        }
    }
}

/// What the stock server said, with every difference applied that the capture names.
fn intended(case: &Case, stock: BTreeMap<u16, Told>) -> BTreeMap<u16, Told> {
    let mut intended = stock;
    for difference in case.differences {
        let mut applies = false;
        for told in intended.values_mut() {
            let before = (told.said.clone(), told.connless.clone(), told.levels.len());
            apply(*difference, told, &case.config);
            applies |= before.0 != told.said || before.1 != told.connless || before.2 != told.levels.len();
        }
        assert!(applies, "{}: {difference:?} makes no difference", case.name);
    }
    intended
}

fn apply(difference: Difference, told: &mut Told, config: &Config) {
    match difference {
        Difference::Version => {
            let (os, version) = ours();
            let connected = payload(&Message::VersionAndOs { os, version: version.clone() });
            let connless = connless(&ConnlessMessage::VersionAndOs { os, version });
            for (old, new) in [(&mut told.said, connected), (&mut told.connless, connless)] {
                old.iter_mut().filter(|(id, _)| *id == new.0).for_each(|old| *old = new.clone());
            }
        }
        Difference::RawOffer => {
            if !told.said.is_empty() {
                told.said.insert(1, payload(&Message::RawAudioSupported));
            }
        }
        Difference::AutoSizes => told.said.retain(|payload| !is_buffer_size(payload)),
        Difference::SplitWelcome => {
            let long = told.said.iter().position(|(id, body)| *id != SPLIT_ID && body.len() > 550);
            if let Some(at) = long {
                let (id, body) = told.said.remove(at);
                told.said.splice(at..at, split_bodies(id, &body).map(|part| (SPLIT_ID, part)));
            }
        }
        Difference::Queries => {
            if !told.connless.is_empty() {
                let features = 1 << 6;
                told.connless.push(connless(&ConnlessMessage::ServerFeatures(features)));
                let welcome = config.welcome.clone().unwrap_or_default();
                told.connless.push(connless(&ConnlessMessage::WelcomeMessage(welcome)));
            }
        }
        Difference::Levels => {
            let listed = told.listed.take();
            told.levels.retain(|(at, _)| listed.is_some_and(|listed| *at >= listed));
        }
    }
}

/// System and version that we tell.
fn ours() -> (Os, String) {
    let mut core = Core::new(Time::ZERO, Config::default(), 1);
    let from = client(9);
    core.handle_datagram(Time::ZERO, from, &ConnlessMessage::RequestVersionAndOs.to_datagram());
    let mut answer = None;
    core.drain_transmits(|_, datagram| {
        if let Datagram::Frame(frame) = classify(datagram) {
            answer = ConnlessMessage::parse(frame.id, frame.body).ok();
        }
    });
    match answer {
        Some(ConnlessMessage::VersionAndOs { os, version }) => (os, version),
        other => panic!("no version but {other:?}"),
    }
}

fn is_buffer_size((id, body): &Payload) -> bool {
    *id == payload(&Message::JitterBufferSize(JitterBufferSize::Auto)).0
        && (1..=20).contains(&u16::from_le_bytes([body[0], body[1]]))
}

fn payload(message: &Message) -> Payload {
    let mut body = Vec::new();
    message.write_body(&mut body);
    (message.id(), body)
}

fn connless(message: &ConnlessMessage) -> Payload {
    let datagram = message.to_datagram();
    match classify(&datagram) {
        Datagram::Frame(frame) => (frame.id, frame.body.to_vec()),
        Datagram::Audio(_) => panic!("{message:?} is no frame"),
    }
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Our server in a stock server's place.
struct Replay {
    core: Core,
    ticks: u64,
    told: BTreeMap<u16, Told>,
}

impl Replay {
    fn run(case: &Case, capture: &[Captured]) -> BTreeMap<u16, Told> {
        let mut core = Core::new(Time::ZERO, case.config.clone(), 1);
        core.set_wall_time(time_of_day(capture));
        // What it would write stays in its rings: they hold more than a capture.
        let directory = PathBuf::from("nowhere");
        let (tap, _scribe) =
            recorder(RecorderOptions::new(directory.clone()), case.config.frame, case.config.max_clients);
        let mut stop_recording = None;
        if case.records {
            core.set_recorder(tap, directory);
            core.execute(Time::ZERO, Command::Record(RecordCommand::Start)).expect("it can record");
            stop_recording = time_of_stop(capture);
        }
        let mut replay = Self { core, ticks: 0, told: BTreeMap::new() };
        for datagram in capture {
            replay.pass_until(datagram.at);
            if let Some(at) = stop_recording.take_if(|at| *at <= datagram.at) {
                replay.core.execute(at, Command::Record(RecordCommand::Stop)).expect("it can stop");
                replay.drain(at);
            }
            let is_ack = matches!(classify(&datagram.bytes), Datagram::Frame(frame) if frame.id == ACK_ID);
            if datagram.to == SERVER_PORT && !is_ack {
                replay.core.handle_datagram(datagram.at, client(datagram.from), &datagram.bytes);
                replay.drain(datagram.at);
            }
        }
        replay.told
    }

    /// Ticks and timers up to `end`.
    fn pass_until(&mut self, end: Time) {
        loop {
            let tick =
                Time::from_micros((self.ticks + 1) * self.core.frame().samples() as u64 * 1_000_000 / 48_000);
            let due = self.core.poll_timeout().unwrap_or(tick).min(tick);
            if due > end {
                return;
            }
            if tick == due {
                self.ticks += 1;
                self.core.tick();
            }
            if self.core.poll_timeout().is_some_and(|timer| timer <= due) {
                self.core.handle_timeout(due);
            }
            self.drain(due);
        }
    }

    /// Notes what is sent, and acknowledges what wants to be.
    fn drain(&mut self, now: Time) {
        loop {
            let mut sent = Vec::new();
            self.core.drain_transmits(|to, datagram| sent.push((to, datagram.to_vec())));
            if sent.is_empty() {
                return;
            }
            for (to, datagram) in sent {
                self.told.entry(to.port()).or_default().note(now, &datagram);
                if let Datagram::Frame(frame) = classify(&datagram)
                    && frame.id != ACK_ID
                    && !is_connless(frame.id)
                {
                    let mut ack = Vec::new();
                    write_frame(ACK_ID, frame.counter, &frame.id.to_le_bytes(), &mut ack);
                    self.core.handle_datagram(now, to, &ack);
                }
            }
        }
    }
}

/// The time of day in the capture's chat lines, all of which are of the same second.
fn time_of_day(capture: &[Captured]) -> WallTime {
    let stamp = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let at = text.find("</font> ").and_then(|_| text.find("\">("))? + 3;
        let digits = |from: usize| text.get(at + from..at + from + 2)?.parse::<u8>().ok();
        let afternoon = if text.get(at + 9..at + 11)? == "PM" { 12 } else { 0 };
        Some(WallTime { hour: digits(0)? % 12 + afternoon, minute: digits(3)?, second: digits(6)? })
    };
    let from_server = capture.iter().filter(|datagram| datagram.from == SERVER_PORT);
    from_server.filter_map(|datagram| stamp(&datagram.bytes)).next().unwrap_or_default()
}

/// When the captured server first said that it does not record (any more).
fn time_of_stop(capture: &[Captured]) -> Option<Time> {
    let off = payload(&Message::RecorderState(RecorderState::NotEnabled));
    let says_so = |datagram: &&Captured| match classify(&datagram.bytes) {
        Datagram::Frame(frame) => {
            datagram.from == SERVER_PORT && (frame.id, frame.body) == (off.0, &off.1[..])
        }
        Datagram::Audio(_) => false,
    };
    capture.iter().find(says_so).map(|datagram| datagram.at)
}

/// Payloads in hexadecimal, one a line, so that a difference can be found.
fn listed(payloads: &[Payload]) -> String {
    payloads.iter().map(|(id, body)| format!("{id} {body:02x?}\n")).collect()
}

/// Replays one capture and checks what holds for all of them.
fn replay(case: &Case) {
    let capture = read(case.name);
    let mut stock: BTreeMap<u16, Told> = BTreeMap::new();
    for datagram in capture.iter().filter(|datagram| datagram.from == SERVER_PORT) {
        stock.entry(datagram.to).or_default().note(datagram.at, &datagram.bytes);
    }
    let expected = intended(case, stock);
    let mut ours = Replay::run(case, &capture);
    if case.differences.contains(&Difference::AutoSizes) {
        ours.values_mut().for_each(|told| told.said.retain(|payload| !is_buffer_size(payload)));
    }
    assert!(ours.keys().eq(expected.keys()), "{}: the same clients are told something", case.name);
    for (port, expected) in &expected {
        let (ours, what) = (&ours[port], format!("{}, client {port}", case.name));
        assert_eq!(listed(&ours.said), listed(&expected.said), "{what}");
        assert_eq!(listed(&ours.connless), listed(&expected.connless), "{what}");
        assert_eq!(ours.acks, expected.acks, "{what}: acknowledgements");
        assert_eq!(ours.size, expected.size, "{what}: size of sound packets in the end");
        assert!(ours.longest <= 1200, "{what}: a datagram of {} bytes", ours.longest);
        // Neither server's tick is bound to the capture's beginning.
        let packets = ours.packets.abs_diff(expected.packets);
        assert!(packets <= 2 + expected.packets / 20, "{what}: {} of {}", ours.packets, expected.packets);
        let sizes = |told: &Told| told.levels.iter().map(|(_, size)| *size).collect::<BTreeSet<_>>();
        assert_eq!(sizes(ours), sizes(expected), "{what}: clients in level lists");
        assert!(ours.levels.len().abs_diff(expected.levels.len()) <= 1, "{what}: level lists");
        assert!(
            ours.levels.windows(2).all(|pair| pair[1].0.since(pair[0].0) == LEVEL_INTERVAL),
            "{what}: levels every {LEVEL_INTERVAL:?}"
        );
    }
}

fn welcoming(text: &str) -> Config {
    Config { welcome: Some(text.to_owned()), ..Config::default() }
}

#[test]
fn each_quality_is_answered_as_by_the_stock_server() {
    use Difference::{AutoSizes, RawOffer, Version};
    for name in [
        "q_s391_c391_mono_128_low.pcap",
        "q_s391_c391_mono_64_normal.pcap",
        "q_s391_c391_stereo_64_high.pcap",
        "block256_fact2_s391_c391_mono_high.pcap",
    ] {
        let differences = &[Version, RawOffer, AutoSizes];
        replay(&Case { name, config: Config::default(), records: false, differences });
    }
    let name = "q_shead_chead_stereo_128_raw.pcap";
    replay(&Case { name, config: Config::default(), records: false, differences: &[Version, AutoSizes] });
}

#[test]
fn a_gui_session_is_answered_the_same() {
    use Difference::{AutoSizes, Levels, RawOffer, Version};
    let config = welcoming("Welcome <b>all</b>");
    replay(&Case {
        name: "gui_s391_c391_st128_normal.pcap",
        config: config.clone(),
        records: false,
        differences: &[Version, RawOffer, AutoSizes, Levels],
    });
    replay(&Case {
        name: "gui_shead_c391_st64_high.pcap",
        config,
        records: false,
        differences: &[Version, AutoSizes, Levels],
    });
}

#[test]
fn two_clients_are_told_the_same() {
    use Difference::{AutoSizes, Version};
    replay(&Case {
        name: "two_clients_shead_F_c391_chead.pcap",
        config: Config { frame: FrameSize::Samples64, ..Config::default() },
        records: true,
        differences: &[Version, AutoSizes],
    });
}

#[test]
fn a_long_welcome_is_the_same_in_parts() {
    use Difference::{AutoSizes, RawOffer, SplitWelcome, Version};
    let name = "long_welcome_split_licence_s391_c391.pcap";
    // As the captured server told it.
    let welcome =
        read(name).iter().filter(|datagram| datagram.from == SERVER_PORT).find_map(
            |datagram| match classify(&datagram.bytes) {
                Datagram::Frame(frame) => match Message::parse(frame.id, frame.body) {
                    Ok(Message::ChatText(text)) => {
                        text.strip_prefix("<b>Server Welcome Message:</b> ").map(str::to_owned)
                    }
                    _ => None,
                },
                Datagram::Audio(_) => None,
            },
        );
    let welcome = welcome.expect("the capture has a welcome");
    assert!(welcome.len() > 1500);
    replay(&Case {
        name,
        config: Config { licence: true, ..welcoming(&welcome) },
        records: false,
        differences: &[Version, RawOffer, AutoSizes, SplitWelcome],
    });
}

#[test]
fn a_full_server_refuses_the_same() {
    use Difference::{AutoSizes, Version};
    replay(&Case {
        name: "server_full_shead_u1.pcap",
        config: Config { max_clients: 1, ..Config::default() },
        records: false,
        differences: &[Version, AutoSizes],
    });
}

#[test]
fn questions_of_strangers_are_answered_the_same() {
    let told = ToldFeatures { multithreading: true, ..ToldFeatures::default() };
    let config =
        Config { frame: FrameSize::Samples64, delay_pan: true, licence: true, told, ..welcoming("Grüße") };
    replay(&Case {
        name: "clm_queries_shead.pcap",
        config,
        records: false,
        differences: &[Difference::Version],
    });
    replay(&Case {
        name: "clm_queries_s391.pcap",
        config: Config { told: ToldFeatures::default(), ..Config::default() },
        records: false,
        differences: &[Difference::Version, Difference::Queries],
    });
}

/// A client that sends one byte and then nothing: no acknowledgement, no sound.
#[test]
fn what_nobody_acknowledges_is_sent_again_as_often_and_given_up_as_soon() {
    /// The stock server's timer is not as even as our clock.
    const TOLERANCE: Duration = Duration::from_millis(150);
    const LIFE: Duration = Duration::from_secs(30);
    let capture = read("noack_resend_and_timeout_s391.pcap");
    let messages = |datagrams: &[(Time, Vec<u8>)]| -> Vec<(Time, u8, Payload)> {
        let frames = datagrams.iter().filter_map(|(at, bytes)| match classify(bytes) {
            Datagram::Frame(frame) if !is_connless(frame.id) => {
                Some((*at, frame.counter, (frame.id, frame.body.to_vec())))
            }
            _ => None,
        });
        frames.collect()
    };
    let from_server = capture.iter().filter(|datagram| datagram.from == SERVER_PORT);
    let stock: Vec<_> = from_server.map(|datagram| (datagram.at, datagram.bytes.clone())).collect();
    let [hello] = &capture.iter().filter(|datagram| datagram.to == SERVER_PORT).collect::<Vec<_>>()[..]
    else {
        panic!("the client has sent more than one datagram");
    };

    let mut core = Core::new(Time::ZERO, Config::default(), 1);
    core.handle_datagram(hello.at, client(hello.from), &hello.bytes);
    let (mut ours, mut now, mut left) = (Vec::new(), hello.at, None);
    while now <= hello.at + 2 * LIFE {
        core.drain_transmits(|_, datagram| ours.push((now, datagram.to_vec())));
        left = left.or((core.is_empty()).then_some(now));
        now += Duration::from_millis(1);
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now);
        }
    }

    let (stock, ours) = (messages(&stock), messages(&ours));
    assert!(stock.len() > 60 && stock.len().abs_diff(ours.len()) <= 1, "{} and {}", stock.len(), ours.len());
    for ((at, counter, payload), (our_at, our_counter, our_payload)) in stock.iter().zip(&ours) {
        assert_eq!((our_counter, our_payload), (counter, payload));
        let apart = at.since(*our_at).max(our_at.since(*at));
        assert!(apart < TOLERANCE, "{our_at:?} instead of {at:?}");
    }
    let (last, ..) = stock.last().expect("there are many");
    assert!(last.since(hello.at) <= LIFE && last.since(hello.at) > LIFE - Duration::from_secs(1));
    let left = left.expect("it has left").since(hello.at);
    assert!(left.abs_diff(LIFE) <= Duration::from_millis(5), "{left:?}");
}
