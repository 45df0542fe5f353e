//! `/metrics` and `/healthz` of a running server: the exposition is parsed as strictly as its format is written
//! (Prometheus text format 0.0.4), and its numbers move.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "a scraper of a real server needs real sockets and patience")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use jamulet::protocol::{ChannelInfo, Message, PacketLayout, TransportProperties, write_frame};
use jamulet::server::admin::MetricsServer;
use jamulet::server::{DropReason, LATENESS_BOUNDS_MICROS, Options, Server};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat};

/// Fails a broken server's test instead of hanging; no working one comes near it.
const PATIENCE: Duration = Duration::from_secs(25);
const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n";

fn start() -> (Server, MetricsServer) {
    let options = Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), ..Options::default() };
    let server = Server::start(options).unwrap();
    let metrics = MetricsServer::start((Ipv4Addr::LOCALHOST, 0).into(), server.handle()).unwrap();
    (server, metrics)
}

/// Head and body of what is answered to `request`.
fn ask(address: SocketAddr, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn scrape(metrics: &MetricsServer) -> Exposition {
    let (head, body) = ask(metrics.local_addr(), SCRAPE.as_bytes());
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    Exposition::parse(&body)
}

/// All samples, by name and labels as written.
struct Exposition(BTreeMap<String, f64>);

impl Exposition {
    /// Panics on everything that the format does not allow.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
        let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(is_name(name) && !help.trim().is_empty() && !help.contains('\\'), "{line}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, told) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&told), "{line}");
                assert_eq!(name, helped, "explained first");
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                assert_eq!(told == "counter", name.ends_with("_total"), "{line}");
                (family, kind) = (name.to_owned(), told.to_owned());
            } else {
                let (key, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = parse_key(key);
                let belongs = match kind.as_str() {
                    "histogram" => {
                        ["_bucket", "_sum", "_count"].iter().any(|part| name == format!("{family}{part}"))
                    }
                    _ => name == family,
                };
                assert!(belongs, "{line} is not of {family}");
                assert_eq!(name.ends_with("_bucket"), labels.contains_key("le"), "{line}");
                let value: f64 = value.parse().unwrap();
                assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
                assert!(samples.insert(key.to_owned(), value).is_none(), "{key} comes twice");
            }
        }
        Self(samples)
    }

    fn get(&self, key: &str) -> f64 {
        *self.0.get(key).unwrap_or_else(|| panic!("there is no {key}"))
    }

    /// Samples of one name, by label value.
    fn by_label(&self, name: &str) -> Vec<(String, f64)> {
        let named = self.0.iter().filter(|(key, _)| parse_key(key).0 == name);
        named
            .map(|(key, value)| (parse_key(key).1.into_values().next().unwrap_or_default(), *value))
            .collect()
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn parse_key(key: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, labels)) = key.split_once('{') else {
        assert!(is_name(key), "{key}");
        return (key.to_owned(), BTreeMap::new());
    };
    assert!(is_name(name), "{key}");
    let labels = labels.strip_suffix('}').unwrap();
    let pairs = labels.split(',').map(|pair| {
        let (label, value) = pair.split_once('=').unwrap();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
        assert!(is_name(label) && !value.contains(['"', '\\', '\n']), "{key}");
        (label.to_owned(), value.to_owned())
    });
    (name.to_owned(), pairs.collect())
}

fn tell(socket: &UdpSocket, counter: u8, message: &Message) {
    let (mut body, mut datagram) = (Vec::new(), Vec::new());
    message.write_body(&mut body);
    write_frame(message.id(), counter, &body, &mut datagram);
    socket.send(&datagram).unwrap();
}

/// Somebody who plays silence of the right size, and once sound of the wrong size.
fn play(server: SocketAddr) -> (UdpSocket, PacketLayout) {
    let format = StreamFormat::stock(FrameSize::Samples128, Layout::Mono, Quality::Normal);
    let layout = PacketLayout { format, block_factor: 1, counter: true };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.send(b"x").unwrap();
    tell(&socket, 0, &Message::TransportProperties(TransportProperties::new(layout)));
    tell(&socket, 1, &Message::ChannelInfo(ChannelInfo { name: "Ann".to_owned(), ..ChannelInfo::default() }));
    socket.send(b"of no size that was agreed").unwrap();
    (socket, layout)
}

#[test]
fn everything_that_is_measured_is_there_and_well_formed() {
    let (_server, metrics) = start();
    let page = scrape(&metrics);
    assert_eq!(page.get("jamulet_clients"), 0.0);
    assert_eq!(page.get("jamulet_clients_limit"), 10.0);
    assert_eq!(page.get("jamulet_ticks_total"), 0.0);
    assert_eq!(page.by_label("jamulet_build_info").len(), 1);
    let reasons: BTreeSet<String> =
        page.by_label("jamulet_dropped_datagrams_total").into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, DropReason::ALL.iter().map(|reason| reason.name().to_owned()).collect());
    for states in ["jamulet_recorder_state", "jamulet_directory_registration"] {
        let on: Vec<_> = page.by_label(states).into_iter().filter(|(_, value)| *value == 1.0).collect();
        assert_eq!(on.len(), 1, "{states}: {on:?}");
    }
    for name in [
        "jamulet_uptime_seconds",
        "jamulet_clients_joined_total",
        "jamulet_late_ticks_total",
        "jamulet_tick_resynchronisations_total",
        "jamulet_tick_cpu_seconds_total",
        "jamulet_received_datagrams_total",
        "jamulet_received_bytes_total",
        "jamulet_sent_datagrams_total",
        "jamulet_sent_bytes_total",
        "jamulet_refused_datagrams_total",
        "jamulet_received_frames_total",
        "jamulet_late_frames_total",
        "jamulet_lost_frames_total",
        "jamulet_concealed_frames_total",
        "jamulet_recorder_lost_frames_total",
    ] {
        assert!(page.get(name) >= 0.0);
    }
}

#[test]
fn the_numbers_move_when_somebody_plays() {
    let (server, metrics) = start();
    let before = scrape(&metrics);
    let (ann, layout) = play(server.local_addr());
    let mut packet = vec![0; layout.packet_bytes()];
    let deadline = Instant::now() + PATIENCE;
    let mut counter = 0u8;
    let after = loop {
        *packet.last_mut().unwrap() = counter;
        counter = counter.wrapping_add(1);
        ann.send(&packet).unwrap();
        std::thread::sleep(Duration::from_millis(10));
        let page = scrape(&metrics);
        if page.get("jamulet_received_frames_total") >= 5.0 && page.get("jamulet_ticks_total") >= 50.0 {
            break page;
        }
        assert!(Instant::now() < deadline, "{} frames", page.get("jamulet_received_frames_total"));
    };
    assert_eq!(after.get("jamulet_clients"), 1.0);
    for grown in [
        "jamulet_clients_joined_total",
        "jamulet_received_datagrams_total",
        "jamulet_received_bytes_total",
        "jamulet_sent_datagrams_total",
        "jamulet_sent_bytes_total",
        "jamulet_dropped_datagrams_total{reason=\"wrong_size\"}",
        "jamulet_tick_lateness_seconds_count",
        "jamulet_uptime_seconds",
    ] {
        assert!(after.get(grown) > before.get(grown), "{grown}: {}", after.get(grown));
    }
    let mut buckets: Vec<(f64, f64)> = after
        .by_label("jamulet_tick_lateness_seconds_bucket")
        .into_iter()
        .map(|(bound, count)| (bound.parse().unwrap(), count))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(buckets.len(), LATENESS_BOUNDS_MICROS.len() + 1);
    assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{buckets:?}");
    assert_eq!(buckets[0].0, 50e-6);
    assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, after.get("jamulet_tick_lateness_seconds_count")));
    // Nothing that counts ever shrinks.
    for (key, value) in &before.0 {
        let name = parse_key(key).0;
        if name.ends_with("_total") || name.ends_with("_bucket") {
            assert!(after.get(key) >= *value, "{key}");
        }
    }
}

#[test]
fn other_requests_are_refused_politely() {
    let (_server, metrics) = start();
    let address = metrics.local_addr();
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        ("\u{1}\u{2}\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
    ] {
        let (head, body) = ask(address, request.as_bytes());
        assert_eq!(head.lines().next().unwrap(), format!("HTTP/1.1 {status}"));
        assert!(head.ends_with("Connection: close") && body.ends_with('\n'), "{head}\n{body}");
    }
    assert_eq!(ask(address, b"GET /healthz HTTP/1.0\r\n\r\n").1, "ok\n");
}

#[test]
fn half_open_requests_keep_no_scraper_out() {
    let (_server, metrics) = start();
    let half_open: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(metrics.local_addr()).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(scrape(&metrics).get("jamulet_clients"), 0.0);
    drop(half_open);
    metrics.stop();
}
