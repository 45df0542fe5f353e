//! The client session's rules one by one: order, answers, layout, timeouts, leaving.

use std::net::SocketAddr;
use std::time::Duration;

use jamulet::protocol::{
    ACK_ID, ChannelInfo, ClientEntry, ConnlessMessage, Datagram, JitterBufferSize, Message, Os, PacketLayout,
    TransportProperties, classify, is_connless, utf16_len, write_frame,
};
use jamulet::session::{ClientConfig, ClientEvent, ClientSession, EndReason, PING_INTERVAL};
use jamulet::units::{
    BufferSize, CONNECTION_TIMEOUT, ChannelId, FrameSize, Layout, Quality, StreamFormat, Time,
};
use jamulet_testkit::netem::LinkConfig;

use crate::model::{CHANNEL, ModelServer, SERVER, World, config, info, stereo_normal};

const START: Time = Time::from_micros(1_000_000);
const MICRO: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);

/// A session and a server that is the test itself: acknowledges everything at once.
struct Bench {
    session: ClientSession,
    now: Time,
    next_counter: u8,
    sent_connless: Vec<ConnlessMessage>,
}

impl Bench {
    /// A session that has sent its first audio.
    fn new(config: ClientConfig) -> Self {
        let mut bench = Self::before_audio(config);
        bench.session.audio_sent(START);
        bench
    }

    fn before_audio(config: ClientConfig) -> Self {
        let session = ClientSession::new(START, config);
        Self { session, now: START, next_counter: 0, sent_connless: Vec::new() }
    }

    /// A session that knows its channel, the server's version and who is there, and hears audio.
    fn settled(config: ClientConfig) -> Self {
        let mut bench = Self::new(config);
        bench.say(&Message::ClientId(CHANNEL));
        bench.say(&Message::RequestSplitSupport);
        bench.say(&version("3.9.1"));
        bench.say(&Message::ClientList(vec![entry(5, "Alice"), entry(7, "Bob")]));
        bench.exchange();
        assert!(bench.hear_audio());
        bench.exchange();
        bench.events();
        bench
    }

    /// The server says `message` (once, on a network that loses nothing).
    fn say(&mut self, message: &Message) {
        let mut body = Vec::new();
        message.write_body(&mut body);
        let mut datagram = Vec::new();
        write_frame(message.id(), self.next_counter, &body, &mut datagram);
        self.next_counter = self.next_counter.wrapping_add(1);
        assert_eq!(self.session.handle_datagram(self.now, SERVER, &datagram), None);
    }

    fn say_connless(&mut self, message: &ConnlessMessage) {
        assert_eq!(self.session.handle_datagram(self.now, SERVER, &message.to_datagram()), None);
    }

    fn hear_audio(&mut self) -> bool {
        let packet = vec![0xAA; self.session.audio_layout().packet_bytes()];
        self.session.handle_datagram(self.now, SERVER, &packet).is_some()
    }

    /// Acknowledges what the client sends until it has nothing more to say, and returns it.
    fn exchange(&mut self) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some(message) = self.next_message() {
            let mut ack = Vec::new();
            write_frame(ACK_ID, message.1, &message.0.id().to_le_bytes(), &mut ack);
            self.session.handle_datagram(self.now, SERVER, &ack);
            said.push(message.0);
        }
        said
    }

    /// What the client sends next, unacknowledged, with its counter. ACKs are passed over.
    fn next_message(&mut self) -> Option<(Message, u8)> {
        while let Some(datagram) = self.session.poll_transmit() {
            let Datagram::Frame(frame) = classify(&datagram) else { panic!("the session sends frames only") };
            if is_connless(frame.id) {
                self.sent_connless
                    .push(ConnlessMessage::parse(frame.id, frame.body).expect("ours are valid"));
            } else if frame.id != ACK_ID {
                return Some((Message::parse(frame.id, frame.body).expect("ours are valid"), frame.counter));
            }
        }
        None
    }

    fn acknowledge(&mut self, id: u16, counter: u8) {
        let mut ack = Vec::new();
        write_frame(ACK_ID, counter, &id.to_le_bytes(), &mut ack);
        self.session.handle_datagram(self.now, SERVER, &ack);
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// Lets time pass, calling the session exactly when it asks to be called.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.session.poll_timeout().filter(|&due| due <= end) {
            assert!(due >= self.now, "a deadline in the past would make its owner spin");
            self.now = due;
            self.session.handle_timeout(due);
            assert_ne!(self.session.poll_timeout(), Some(due), "a deadline must be gone once handled");
        }
        self.now = end;
    }
}

fn version(text: &str) -> Message {
    Message::VersionAndOs { os: Os::LINUX, version: text.to_owned() }
}

fn entry(channel: u8, name: &str) -> ClientEntry {
    ClientEntry { channel: ChannelId(channel), info: info(name) }
}

fn properties(layout: PacketLayout) -> Message {
    Message::TransportProperties(TransportProperties::new(layout))
}

fn without_counter(layout: PacketLayout) -> PacketLayout {
    PacketLayout { counter: false, ..layout }
}

fn stereo(quality: Quality) -> PacketLayout {
    let format = StreamFormat::stock(FrameSize::Samples128, Layout::Stereo, quality);
    PacketLayout { format, ..stereo_normal() }
}

const GOODBYE: ConnlessMessage = ConnlessMessage::Disconnection;
const FOUR_FRAMES: Message = Message::JitterBufferSize(JitterBufferSize::Frames(4));

#[test]
fn audio_goes_first() {
    let mut bench = Bench::before_audio(config());
    bench.session.set_info(START, info("Bob"));
    bench.session.chat(START, "too early");
    bench.say(&Message::RequestChannelInfo);
    bench.pass(4 * Duration::from_secs(1));
    assert_eq!(bench.session.poll_transmit(), None);

    bench.session.audio_sent(bench.now);
    assert_eq!(bench.exchange(), [properties(without_counter(stereo_normal())), FOUR_FRAMES]);
    bench.session.audio_sent(bench.now);
    assert_eq!(bench.exchange(), [], "only the first audio opens the way");
}

#[test]
fn every_request_is_answered_by_what_it_asks_for() {
    let mut bench = Bench::new(config());
    bench.exchange();
    for (request, answer) in [
        (Message::RequestSplitSupport, Message::SplitSupported),
        (Message::RequestTransportProperties, properties(without_counter(stereo_normal()))),
        (Message::RequestJitterBufferSize, FOUR_FRAMES),
        (Message::RequestChannelInfo, Message::ChannelInfo(info("Alice"))),
    ] {
        bench.say(&request);
        assert_eq!(bench.exchange(), [answer]);
    }
    bench.say(&version("3.9.1"));
    assert_eq!(bench.exchange(), [properties(stereo_normal())]);
    assert!(bench.hear_audio());
    let expected = [
        Message::ChannelInfo(info("Alice")),
        Message::RequestClientList,
        FOUR_FRAMES,
        Message::RequestLevelList(1),
    ];
    assert_eq!(bench.exchange(), expected);
    bench.hear_audio();
    assert_eq!(bench.exchange(), [], "only the first audio is special");
}

#[test]
fn the_counter_waits_for_the_servers_version() {
    for (text, allowed) in [("3.5.12", false), ("nonsense", false), ("3.6.0", true), ("4.0.0dev-abc", true)] {
        let mut bench = Bench::new(config());
        bench.exchange();
        assert!(!bench.session.audio_layout().counter);
        bench.say(&version(text));
        assert!(!bench.session.audio_layout().counter, "not before the server has agreed");
        bench.exchange();
        assert_eq!(bench.session.audio_layout().counter, allowed, "{text}");
        let events = bench.events();
        assert_eq!(events.contains(&ClientEvent::LayoutChanged), allowed);
        assert!(events.contains(&ClientEvent::ServerVersion(text.to_owned())));
    }
    let mut bench = Bench::new(ClientConfig { layout: without_counter(stereo_normal()), ..config() });
    bench.say(&version("3.9.1"));
    bench.exchange();
    assert!(!bench.session.audio_layout().counter, "not when not wanted");
}

#[test]
fn raw_audio_waits_for_the_servers_offer() {
    let mut bench = Bench::new(ClientConfig { layout: stereo(Quality::Max), ..config() });
    assert_eq!(bench.session.audio_layout(), without_counter(stereo(Quality::High)));
    assert_eq!(bench.exchange()[0], properties(without_counter(stereo(Quality::High))));
    bench.say(&Message::RawAudioSupported);
    assert_eq!(bench.exchange(), [properties(without_counter(stereo(Quality::Max)))]);
    assert_eq!(bench.session.audio_layout(), without_counter(stereo(Quality::Max)));
    assert_eq!(bench.events(), [ClientEvent::RawAudioSupported, ClientEvent::LayoutChanged]);

    let mut bench = Bench::new(config());
    bench.exchange();
    bench.say(&Message::RawAudioSupported);
    assert_eq!(bench.exchange(), [], "who does not want raw has nothing to announce");
    bench.session.set_layout(bench.now, stereo(Quality::Max));
    assert_eq!(bench.exchange(), [properties(without_counter(stereo(Quality::Max)))]);
}

#[test]
fn a_new_layout_is_in_use_once_the_server_has_acknowledged_it() {
    let mut bench = Bench::settled(config());
    let (old, new) = (stereo(Quality::Normal), stereo(Quality::High));
    bench.session.set_layout(bench.now, new);
    let (message, counter) = bench.next_message().unwrap();
    assert_eq!(message, properties(new));
    assert_eq!(bench.session.audio_layout(), old);
    assert!(bench.hear_audio(), "the old size goes on until then");
    bench.acknowledge(20, counter);
    assert_eq!(bench.session.audio_layout(), new);
    assert_eq!(bench.events(), [ClientEvent::LayoutChanged]);

    // A packet of the old size that was overtaken is dropped and counted.
    let before = bench.session.rejected_packets();
    assert_eq!(bench.session.handle_datagram(bench.now, SERVER, &vec![1; old.packet_bytes()]), None);
    assert_eq!(bench.session.rejected_packets(), before + 1);
    bench.session.set_layout(bench.now, new);
    assert_eq!(bench.exchange(), [], "nothing changed, nothing to say");
}

#[test]
fn audio_of_the_new_size_proves_that_the_server_has_switched() {
    let mut bench = Bench::settled(config());
    let new = stereo(Quality::High);
    let packet = vec![1; new.packet_bytes()];
    assert_eq!(bench.session.handle_datagram(bench.now, SERVER, &packet), None, "not announced yet");
    bench.session.set_layout(bench.now, new);
    bench.next_message().unwrap(); // its acknowledgement gets lost
    assert_eq!(bench.session.handle_datagram(bench.now, SERVER, &packet), Some(&packet[..]));
    assert_eq!(bench.session.audio_layout(), new);
    assert_eq!(bench.events(), [ClientEvent::LayoutChanged]);
}

#[test]
fn of_quick_changes_the_last_one_wins() {
    let mut bench = Bench::settled(config());
    bench.session.set_layout(bench.now, stereo(Quality::High));
    bench.session.set_layout(bench.now, stereo(Quality::Low));
    bench.session.set_layout(bench.now, stereo(Quality::Normal));
    assert_eq!(bench.exchange(), [properties(stereo(Quality::High)), properties(stereo(Quality::Normal))]);
    assert_eq!(bench.session.audio_layout(), stereo(Quality::Normal));
}

#[test]
fn a_layout_changed_before_audio_is_the_one_to_begin_with() {
    let mut bench = Bench::before_audio(config());
    bench.session.set_layout(START, stereo(Quality::Low));
    assert_eq!(bench.session.audio_layout(), without_counter(stereo(Quality::Low)));
    bench.session.audio_sent(START);
    assert_eq!(bench.exchange()[0], properties(without_counter(stereo(Quality::Low))));
}

#[test]
fn the_servers_buffer_size_counts_only_while_it_may_choose() {
    let mut bench = Bench::settled(config());
    let told = Message::JitterBufferSize(JitterBufferSize::Frames(6));
    bench.say(&told);
    assert_eq!(bench.events(), [], "manual: ignored");
    bench.session.set_server_buffer(bench.now, BufferSize::Auto);
    assert_eq!(bench.exchange(), [Message::JitterBufferSize(JitterBufferSize::Auto)]);
    bench.say(&told);
    assert_eq!(bench.events(), [ClientEvent::ServerBuffer(6)]);
    for (set, sent) in [(0, 1), (99, 20)] {
        bench.session.set_server_buffer(bench.now, BufferSize::Frames(set));
        assert_eq!(bench.exchange(), [Message::JitterBufferSize(JitterBufferSize::Frames(sent))]);
    }
}

#[test]
fn what_the_server_tells_becomes_events() {
    let mut bench = Bench::settled(config());
    bench.say(&Message::ChatText("<b>Server Welcome Message:</b> Hi".to_owned()));
    bench.say(&Message::ChatText("<b>Bob</b> Hi".to_owned()));
    bench.say(&Message::LicenceRequired(1));
    bench.say(&Message::MuteStateChanged { channel: ChannelId(7), muted: true });
    bench.say_connless(&ConnlessMessage::LevelList(vec![3, 0]));
    // What only clients say, and what was not asked for.
    bench.say(&Message::RequestClientList);
    bench.say(&Message::ChannelGain { channel: ChannelId(1), gain: 7 });
    bench.say(&Message::OpusSupported);
    bench.say_connless(&ConnlessMessage::RequestServerList);
    bench.say_connless(&ConnlessMessage::EmptyMessage);
    let expected = [
        ClientEvent::Welcome("Hi".to_owned()),
        ClientEvent::Chat("<b>Bob</b> Hi".to_owned()),
        ClientEvent::Licence(1),
        ClientEvent::MuteChanged { channel: ChannelId(7), muted: true },
        ClientEvent::Levels(vec![3, 0]),
    ];
    assert_eq!(bench.events(), expected);
    assert_eq!(bench.exchange(), []);
    let peer = bench.session.peer();
    assert_eq!((peer.channel, peer.version_text.as_deref()), (Some(CHANNEL), Some("3.9.1")));
    assert!(peer.split_supported && !peer.raw_supported);
}

#[test]
fn gains_and_pans_are_batched() {
    let mut bench = Bench::settled(config());
    for i in 0..=10 {
        bench.session.set_gain(bench.now, ChannelId(7), i as f32 / 10.0);
        bench.session.set_pan(bench.now, ChannelId(5), i as f32 / 10.0);
    }
    bench.pass(50 * MS - MICRO);
    assert_eq!(bench.exchange(), []);
    bench.pass(MICRO);
    let expected = [
        Message::ChannelGain { channel: ChannelId(7), gain: 32768 },
        Message::ChannelPan { channel: ChannelId(5), pan: 32768 },
    ];
    assert_eq!(bench.exchange(), expected);
    bench.session.set_gain(bench.now, ChannelId(7), 0.5);
    bench.say(&Message::ClientList(vec![entry(5, "Alice")]));
    bench.pass(100 * MS);
    assert_eq!(bench.exchange(), [], "Bob has left");
}

#[test]
fn chat_is_cut_and_blank_chat_is_not_sent() {
    let mut bench = Bench::settled(config());
    bench.session.chat(bench.now, " \t\n");
    assert_eq!(bench.exchange(), []);
    bench.session.chat(bench.now, " Hello ");
    assert_eq!(bench.exchange(), [Message::ChatText(" Hello ".to_owned())], "spaces are the user's");
    bench.session.chat(bench.now, &"🎵".repeat(1000));
    // It leaves in parts; put them together as the server would.
    let mut server = jamulet::session::Connection::new(bench.now);
    let mut whole = None;
    while let Some(datagram) = bench.session.poll_transmit() {
        if let Datagram::Frame(frame) = classify(&datagram) {
            whole = whole.or(server.handle_frame(bench.now, &frame));
        }
        while let Some(ack) = server.poll_transmit() {
            bench.session.handle_datagram(bench.now, SERVER, &ack);
        }
    }
    let Some(Message::ChatText(text)) = whole else { panic!("no chat came: {whole:?}") };
    assert_eq!(utf16_len(&text), 1600);
}

#[test]
fn a_changed_profile_is_told_and_cut() {
    let mut bench = Bench::settled(config());
    bench.session.set_info(bench.now, info("Alice"));
    assert_eq!(bench.exchange(), []);
    let long = ChannelInfo { name: "🎸".repeat(9), city: "x".repeat(21), ..ChannelInfo::default() };
    bench.session.set_info(bench.now, long);
    let cut = ChannelInfo { name: "🎸".repeat(8), city: "x".repeat(20), ..ChannelInfo::default() };
    assert_eq!(bench.exchange(), [Message::ChannelInfo(cut)]);
}

#[test]
fn a_second_greeting_means_that_the_server_restarted() {
    let mut bench = Bench::settled(config());
    bench.session.set_gain(bench.now, ChannelId(7), 0.5);
    bench.session.chat(bench.now, "lost with the server");
    bench.session.poll_transmit();
    bench.pass(Duration::from_secs(2));
    bench.next_counter = 0;
    bench.say(&Message::ClientId(ChannelId(0)));
    let restarted = [ClientEvent::ServerRestarted, ClientEvent::Connected { channel: ChannelId(0) }];
    assert_eq!(bench.events(), restarted);
    bench.say(&Message::ClientList(vec![]));
    assert_eq!(bench.events(), [ClientEvent::ClientList(vec![])], "one restart, told once");
    // Nothing old is said, and the counter waits for the version again.
    assert_eq!(bench.exchange(), [properties(without_counter(stereo_normal())), FOUR_FRAMES]);
    assert_eq!(bench.session.audio_layout(), without_counter(stereo_normal()));
    bench.say(&version("3.9.1"));
    bench.exchange();
    assert_eq!(bench.session.audio_layout(), stereo_normal());
    bench.hear_audio();
    assert_eq!(bench.exchange().len(), 4, "it introduces itself anew on first audio");
}

#[test]
fn an_empty_list_after_a_full_one_means_that_the_server_restarted() {
    let mut bench = Bench::settled(config());
    bench.session.set_gain(bench.now, ChannelId(7), 0.5);
    bench.say(&Message::ClientList(vec![]));
    assert_eq!(bench.events(), [ClientEvent::ServerRestarted, ClientEvent::ClientList(vec![])]);
    bench.pass(100 * MS);
    assert_eq!(bench.exchange(), []);
}

#[test]
fn only_the_server_is_heard() {
    let mut bench = Bench::settled(config());
    let strangers = ["192.0.2.1:22125", "192.0.2.2:22124", "[::ffff:192.0.2.9]:22124"];
    for stranger in strangers.map(|text| text.parse::<SocketAddr>().unwrap()) {
        let mut greeting = Vec::new();
        write_frame(32, 200, &[9], &mut greeting);
        let packet = vec![1; bench.session.audio_layout().packet_bytes()];
        for datagram in [
            greeting,
            ConnlessMessage::Disconnection.to_datagram(),
            ConnlessMessage::ServerFull.to_datagram(),
            ConnlessMessage::LevelList(vec![1]).to_datagram(),
            packet,
        ] {
            assert_eq!(bench.session.handle_datagram(bench.now, stranger, &datagram), None);
        }
    }
    assert_eq!(bench.events(), []);
    assert_eq!(bench.session.poll_transmit(), None);
    assert_eq!(bench.session.rejected_packets(), 0);
}

#[test]
fn the_servers_goodbye_and_a_full_server_end_it() {
    for (message, reason) in [
        (ConnlessMessage::Disconnection, EndReason::Closed),
        (ConnlessMessage::ServerFull, EndReason::ServerFull),
    ] {
        let mut bench = Bench::new(config());
        bench.say_connless(&message);
        assert_eq!(bench.events(), [ClientEvent::Ended(reason)]);
        assert_eq!(bench.session.poll_timeout(), None);
        assert_eq!(bench.session.poll_transmit(), None);
        bench.session.audio_sent(bench.now);
        bench.session.chat(bench.now, "anyone?");
        bench.say(&Message::ClientId(CHANNEL));
        bench.session.leave(bench.now);
        assert!(!bench.hear_audio());
        assert_eq!((bench.events(), bench.session.poll_transmit()), (vec![], None), "over is over");
    }
}

#[test]
fn no_answer_within_five_seconds_ends_it() {
    for sends_audio in [false, true] {
        let mut bench = Bench::before_audio(config());
        if sends_audio {
            bench.session.audio_sent(START);
        }
        bench.pass(Duration::from_secs(5) - MICRO);
        assert_eq!(bench.events(), []);
        bench.pass(MICRO);
        assert_eq!(bench.events(), [ClientEvent::Ended(EndReason::NoAnswer)]);
        assert_eq!(bench.session.poll_timeout(), None);
    }
    let mut bench = Bench::new(config());
    bench.say_connless(&ConnlessMessage::Ping { time_ms: 0 });
    bench.pass(Duration::from_secs(29));
    assert_eq!(bench.events(), [], "any answer is an answer");
}

#[test]
fn thirty_seconds_without_audio_end_it_exactly() {
    let mut bench = Bench::settled(config());
    bench.pass(Duration::from_secs(10));
    // A packet of a wrong size is a sign of life, even one byte.
    assert_eq!(bench.session.handle_datagram(bench.now, SERVER, &[0]), None);
    bench.pass(CONNECTION_TIMEOUT - MICRO);
    // Messages and pings are none, nor is an empty datagram.
    bench.say(&Message::RequestChannelInfo);
    bench.say_connless(&ConnlessMessage::LevelList(vec![1]));
    assert_eq!(bench.session.handle_datagram(bench.now, SERVER, &[]), None);
    bench.events();
    bench.pass(MICRO);
    assert_eq!(bench.events(), [ClientEvent::Ended(EndReason::TimedOut)]);
    assert_eq!(bench.session.poll_timeout(), None);
}

#[test]
fn pings_leave_every_half_second_and_show_the_round_trip() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.session.ping_ms(), None);
    for round_trip_ms in [21, 20, 250] {
        bench.exchange();
        let Some(ping @ ConnlessMessage::Ping { time_ms }) = bench.sent_connless.pop() else {
            panic!("no ping")
        };
        assert_eq!(u64::from(time_ms), bench.now.as_micros() / 1000);
        bench.pass(round_trip_ms * MS);
        bench.say_connless(&ping);
        bench.pass(PING_INTERVAL - round_trip_ms * MS);
    }
    assert!((bench.session.ping_ms().unwrap() - 21.0).abs() < 0.001);
}

#[test]
fn leaving_says_goodbye_until_audio_stops() {
    let mut bench = Bench::settled(config());
    bench.session.chat(bench.now, "never sent: audio has stopped");
    bench.session.leave(bench.now);
    bench.exchange();
    bench.sent_connless.clear();
    let mut goodbyes = 0;
    for step in 1..=8 {
        bench.pass(100 * MS - MICRO);
        if step < 8 {
            assert!(!bench.hear_audio(), "who leaves hears nothing more");
        }
        bench.pass(MICRO);
        assert_eq!(bench.exchange(), []);
        goodbyes += bench.sent_connless.drain(..).filter(|sent| *sent == GOODBYE).count();
        assert_eq!(goodbyes, step.min(7), "one for each 100 ms with audio, the first in any case");
    }
    assert_eq!(bench.events(), [ClientEvent::Ended(EndReason::Left)]);
}

#[test]
fn leaving_ends_even_if_the_server_never_stops_or_never_spoke() {
    let mut bench = Bench::settled(config());
    bench.session.leave(bench.now);
    let mut waited = Duration::ZERO;
    while bench.events().is_empty() {
        bench.hear_audio();
        bench.pass(50 * MS);
        waited += 50 * MS;
        assert!(waited < Duration::from_secs(3), "still leaving");
    }
    let mut silent = Bench::new(config());
    silent.session.leave(silent.now);
    for _ in 0..3 {
        assert_eq!(silent.events(), []);
        silent.pass(100 * MS);
        silent.exchange();
    }
    assert_eq!(silent.events(), [ClientEvent::Ended(EndReason::Left)]);
    assert_eq!(silent.sent_connless, [GOODBYE, GOODBYE], "one may get lost");

    let mut unborn = Bench::before_audio(config());
    unborn.session.leave(START);
    assert_eq!(unborn.events(), [ClientEvent::Ended(EndReason::Left)]);
    assert_eq!(unborn.session.poll_transmit(), None, "who never sent anything has nobody to tell");
}

#[test]
fn the_model_server_and_the_client_settle_within_a_few_round_trips() {
    let link = LinkConfig { delay: 10 * MS, ..LinkConfig::default() };
    for (text, wanted) in [("3.9.1", stereo_normal()), ("3.5.0", without_counter(stereo_normal()))] {
        let mut world = World::new(config(), ModelServer::new(text), link, 1);
        assert!(world.run_until(Duration::from_secs(1), |w| w.is_settled(wanted) && w.heard > 10));
        assert!(world.saw(&ClientEvent::Connected { channel: CHANNEL }));
        assert!(world.saw(&ClientEvent::Welcome("welcome ".repeat(100))), "split, as it is long");
        assert_eq!(world.slot().info, Some(info("Alice")));
        assert_eq!(world.slot().buffer, Some(JitterBufferSize::Frames(4)));
        assert!((world.client.ping_ms().unwrap() - 20.0).abs() < 3.0);
    }
}

#[test]
fn a_change_of_layout_costs_a_round_trip_of_the_uplink_and_nothing_else() {
    let link = LinkConfig { delay: 20 * MS, ..LinkConfig::default() };
    let mut world = World::new(config(), ModelServer::new("3.9.1"), link, 1);
    assert!(world.run_until(Duration::from_secs(3), |w| w.is_settled(stereo_normal())));
    world.run_for(Duration::from_secs(1));
    let (rejected, wrong) = (world.client.rejected_packets(), world.slot().wrong_packets);
    let wanted = PacketLayout {
        format: StreamFormat::stock(FrameSize::Samples128, Layout::Mono, Quality::High),
        ..stereo_normal()
    };
    world.client.set_layout(world.now, wanted);
    assert!(world.run_until(Duration::from_secs(1), |w| w.is_settled(wanted)));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.client.rejected_packets(), rejected, "the server's answer comes before its new packets");
    let lost = world.slot().wrong_packets - wrong;
    assert!((14..=17).contains(&lost), "40 ms are 15 packets, not {lost}");
}
