//! The server on a real port, in this process.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "clients of a real server need real sockets")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use jamulet::protocol::{
    ChannelInfo, ConnlessMessage, Datagram, Message, PacketLayout, TransportProperties, classify, write_frame,
};
use jamulet::server::{Config, Event, Options, Server, StartError};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat};

/// Fails a broken server's test instead of hanging; no working one comes near it.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(frame: FrameSize) -> Server {
    let config = Config { frame, ..Config::default() };
    Server::start(Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), config, ..Options::default() })
        .unwrap()
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn tell(socket: &UdpSocket, counter: u8, message: &Message) {
    let (mut body, mut datagram) = (Vec::new(), Vec::new());
    message.write_body(&mut body);
    write_frame(message.id(), counter, &body, &mut datagram);
    socket.send(&datagram).unwrap();
}

fn layout() -> PacketLayout {
    let format = StreamFormat::stock(FrameSize::Samples128, Layout::Mono, Quality::Normal);
    PacketLayout { format, block_factor: 1, counter: true }
}

fn join(server: SocketAddr) -> UdpSocket {
    let socket = client(server);
    socket.send(b"x").unwrap();
    tell(&socket, 0, &Message::TransportProperties(TransportProperties::new(layout())));
    tell(&socket, 1, &Message::ChannelInfo(ChannelInfo { name: "Ann".to_owned(), ..ChannelInfo::default() }));
    socket
}

/// Waits for `count` audio packets.
fn hear(socket: &UdpSocket, count: usize) {
    let mut buffer = [0; 2048];
    let mut heard = 0;
    while heard < count {
        let length = socket.recv(&mut buffer).unwrap();
        if let Datagram::Audio(packet) = classify(&buffer[..length]) {
            assert_eq!(packet.len(), layout().packet_bytes());
            heard += 1;
        }
    }
}

#[test]
fn it_ticks_only_while_somebody_is_there() {
    let server = start(FrameSize::Samples128);
    let stranger = client(server.local_addr());
    let ping = ConnlessMessage::Ping { time_ms: 1 }.to_datagram();
    stranger.send(&ping).unwrap();
    assert_eq!(stranger.recv(&mut [0; 100]).unwrap(), ping.len());
    assert_eq!(server.stats().ticks, 0);

    let ann = join(server.local_addr());
    hear(&ann, 20);
    assert!(server.stats().ticks >= 20);
    assert!(matches!(server.events().recv_timeout(PATIENCE), Ok(Event::Connected { clients: 1, .. })));
    assert!(
        matches!(server.events().recv_timeout(PATIENCE), Ok(Event::Joined { name, .. }) if name == "Ann")
    );
    ann.send(&ConnlessMessage::Disconnection.to_datagram()).unwrap();
    assert!(matches!(server.events().recv_timeout(PATIENCE), Ok(Event::Left { .. })));

    // The event leaves within the loop that ends ticking: after one more answer it has ended.
    stranger.send(&ping).unwrap();
    stranger.recv(&mut [0; 100]).unwrap();
    let ticks = server.stats().ticks;
    stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(stranger.recv(&mut [0; 100]).is_err());
    assert_eq!(server.stats().ticks, ticks);
}

#[test]
fn stopping_frees_the_port_also_while_somebody_plays() {
    let server = start(FrameSize::Samples64);
    let address = server.local_addr();
    let ann = join(address);
    hear(&ann, 5);
    server.stop();
    let again = Server::start(Options {
        port: address.port(),
        bind_ip4: Some(Ipv4Addr::LOCALHOST),
        ..Options::default()
    });
    assert_eq!(again.unwrap().local_addr(), address);
}

#[test]
fn two_servers_do_not_share_a_port() {
    let first = start(FrameSize::Samples128);
    let port = first.local_addr().port();
    let second = Server::start(Options { port, bind_ip4: Some(Ipv4Addr::LOCALHOST), ..Options::default() });
    assert!(matches!(second, Err(StartError::PortInUse { port: busy }) if busy == port));
}
