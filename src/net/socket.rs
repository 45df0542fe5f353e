//! A non-blocking UDP socket for both IP families, marked for low delay, reading and writing in batches.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::batch::{ReceiveBatch, SendBatch, map_to_v6};

/// DSCP class CS4 ("real-time interactive") as an IP TOS byte, Jamulus's default.
/// Source: docs/PROTOCOL.md §4.
pub const DEFAULT_TOS: u8 = 128;

/// Kernel buffer asked for, in bytes: a few hundred ms of a full server.
const KERNEL_BUFFER_BYTES: usize = 1 << 20;

/// Where and how to open a [`Socket`].
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// UDP port; 0 lets the system choose.
    pub port: u16,
    /// Listen on this IPv4 address only (and not on IPv6, unless `ip6` is given alone).
    pub ip4: Option<Ipv4Addr>,
    /// Listen on this IPv6 address only; ignored when `ip4` is given.
    pub ip6: Option<Ipv6Addr>,
    /// Both families where the system has IPv6; otherwise IPv4 only.
    pub ipv6: bool,
    /// IP TOS byte or IPv6 traffic class.
    pub tos: u8,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { port: 0, ip4: None, ip6: None, ipv6: true, tos: DEFAULT_TOS }
    }
}

/// A UDP socket. Addresses of IPv4 peers are always plain IPv4.
pub struct Socket {
    pub(super) udp: UdpSocket,
    is_v6: bool,
}

impl Socket {
    /// Opens a socket.
    ///
    /// # Errors
    /// What the system says, e.g. [`io::ErrorKind::AddrInUse`] for a busy port.
    pub fn bind(options: &BindOptions) -> io::Result<Self> {
        if let Some(ip) = options.ip4 {
            return Self::open(SocketAddr::from((ip, options.port)), options.tos);
        }
        if let Some(ip) = options.ip6 {
            return Self::open(SocketAddr::from((ip, options.port)), options.tos);
        }
        if options.ipv6 {
            match Self::open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, options.port)), options.tos) {
                // Only a machine without IPv6 falls back: a busy port must be told, not hidden.
                Err(error) if is_family_missing(&error) => {}
                result => return result,
            }
        }
        Self::open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.port)), options.tos)
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Replaces the contents of `batch` by what has arrived, and tells how many datagrams that were;
    /// 0 means that nothing is waiting. Never blocks.
    ///
    /// # Errors
    /// What the system says, except for answers about earlier sends (an unreachable peer), which are skipped.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.received.clear();
        match os::receive(self, batch) {
            Ok(()) => {}
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(batch.received.len())
    }

    /// Sends everything in `batch` and empties it; tells how many datagrams the system refused
    /// (full buffers, no route): on UDP they are lost like any other. Never blocks.
    pub fn send(&self, batch: &mut SendBatch) -> usize {
        let refused = os::send(self, batch);
        batch.clear();
        refused
    }

    fn open(address: SocketAddr, tos: u8) -> io::Result<Self> {
        let is_v6 = address.is_ipv6();
        let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if is_v6 {
            socket.set_only_v6(false)?;
        }
        // Marking and larger buffers help where they are allowed; the jam works without.
        let _ = socket.set_tos_v4(u32::from(tos));
        #[cfg(unix)]
        if is_v6 {
            let _ = socket.set_tclass_v6(u32::from(tos));
        }
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER_BYTES);
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        Ok(Self { udp: socket.into(), is_v6 })
    }

    /// `to` in the socket's own family.
    fn native(&self, to: SocketAddr) -> SocketAddr {
        if self.is_v6 { map_to_v6(to) } else { to }
    }
}

/// The machine has no IPv6 at all, or has it switched off.
fn is_family_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL, libc::EPROTONOSUPPORT];
    #[cfg(windows)]
    // WSAEAFNOSUPPORT, WSAEADDRNOTAVAIL, WSAEPROTONOSUPPORT
    let codes = [10047, 10049, 10043];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Nothing to read, or news about a datagram sent earlier: neither says anything about this socket.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// Linux: one system call for many datagrams.
#[cfg(target_os = "linux")]
mod os {
    use std::io;
    use std::mem::{MaybeUninit, zeroed};
    use std::os::fd::AsRawFd;
    use std::ptr::null_mut;

    use socket2::{SockAddr, SockAddrStorage};

    use super::super::batch::{ReceiveBatch, SLOT_BYTES, SendBatch, unmap};
    use super::Socket;

    /// Datagrams per system call.
    const CHUNK: usize = 64;

    pub(super) fn receive(socket: &Socket, batch: &mut ReceiveBatch) -> io::Result<()> {
        let slots = batch.slots().min(CHUNK);
        let mut names: [MaybeUninit<SockAddrStorage>; CHUNK] = [const { MaybeUninit::uninit() }; CHUNK];
        // SAFETY: both are plain C structs for which all zeroes is a valid, empty value.
        let (mut parts, mut headers): ([libc::iovec; CHUNK], [libc::mmsghdr; CHUNK]) =
            unsafe { (zeroed(), zeroed()) };
        for (index, slot) in batch.bytes.chunks_exact_mut(SLOT_BYTES).take(slots).enumerate() {
            parts[index] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT_BYTES };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = names[index].as_mut_ptr().cast();
            header.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
            header.msg_iov = &raw mut parts[index];
            header.msg_iovlen = 1;
        }
        // SAFETY: every header points to a live name, vector and slot that outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.udp.as_raw_fd(),
                headers.as_mut_ptr(),
                slots as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        for (name, header) in names.iter().zip(&headers).take(count as usize) {
            // SAFETY: the kernel has written `msg_namelen` bytes of this name.
            let address = unsafe { SockAddr::new(name.assume_init_read(), header.msg_hdr.msg_namelen) };
            // Datagram sockets of these families always name an IP sender; a slot is never skipped, so that
            // `received` stays parallel to the slots: an unusable one is marked as too long.
            let (from, length) = match address.as_socket() {
                Some(from) => (unmap(from), header.msg_len as usize),
                None => (([0, 0, 0, 0], 0).into(), SLOT_BYTES),
            };
            batch.received.push((from, length));
        }
        Ok(())
    }

    pub(super) fn send(socket: &Socket, batch: &SendBatch) -> usize {
        batch.queued.chunks(CHUNK).map(|chunk| send_chunk(socket, &batch.bytes, chunk)).sum()
    }

    fn send_chunk(
        socket: &Socket,
        bytes: &[u8],
        chunk: &[(std::net::SocketAddr, std::ops::Range<usize>)],
    ) -> usize {
        let mut names: [MaybeUninit<SockAddr>; CHUNK] = [const { MaybeUninit::uninit() }; CHUNK];
        // SAFETY: both are plain C structs for which all zeroes is a valid, empty value.
        let (mut parts, mut headers): ([libc::iovec; CHUNK], [libc::mmsghdr; CHUNK]) =
            unsafe { (zeroed(), zeroed()) };
        for (index, (to, range)) in chunk.iter().enumerate() {
            let name = names[index].write(SockAddr::from(socket.native(*to)));
            let datagram = &bytes[range.clone()];
            parts[index] =
                libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
            header.msg_iov = &raw mut parts[index];
            header.msg_iovlen = 1;
        }
        let (mut done, mut refused) = (0, 0);
        while done < chunk.len() {
            // SAFETY: headers `done..chunk.len()` point to live names, vectors and bytes, which sendmmsg only reads.
            let count = unsafe {
                libc::sendmmsg(
                    socket.udp.as_raw_fd(),
                    headers.as_mut_ptr().add(done),
                    (chunk.len() - done) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            if count > 0 {
                done += count as usize;
            } else {
                // The first of the rest was refused; the others may have other receivers.
                done += 1;
                refused += 1;
            }
        }
        refused
    }
}

/// Elsewhere: one system call a datagram.
#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;

    use super::super::batch::{ReceiveBatch, SLOT_BYTES, SendBatch, unmap};
    use super::Socket;

    pub(super) fn receive(socket: &Socket, batch: &mut ReceiveBatch) -> io::Result<()> {
        let slots = batch.slots();
        for slot in batch.bytes.chunks_exact_mut(SLOT_BYTES).take(slots) {
            match socket.udp.recv_from(slot) {
                Ok((length, from)) => batch.received.push((unmap(from), length)),
                Err(_) if !batch.received.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn send(socket: &Socket, batch: &SendBatch) -> usize {
        let sent = |(to, range): &(std::net::SocketAddr, std::ops::Range<usize>)| {
            socket.udp.send_to(&batch.bytes[range.clone()], socket.native(*to)).is_ok()
        };
        batch.queued.iter().filter(|datagram| !sent(datagram)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> Socket {
        Socket::bind(&BindOptions { ip4: Some(Ipv4Addr::LOCALHOST), ..BindOptions::default() }).unwrap()
    }

    /// Reads until `count` datagrams are there; loopback delivers them, whatever the machine's speed.
    fn receive_all(socket: &Socket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut batch = ReceiveBatch::new(16);
        let mut all = Vec::new();
        while all.len() < count {
            socket.receive(&mut batch).unwrap();
            all.extend(batch.iter().map(|(from, bytes)| (from, bytes.to_vec())));
        }
        all
    }

    #[test]
    fn batches_arrive_whole_and_in_order() {
        let (a, b) = (loopback(), loopback());
        let to = b.local_addr().unwrap();
        let mut batch = SendBatch::new(200, 200_000);
        for index in 0..150u8 {
            assert!(batch.push(to, &vec![index; usize::from(index) * 7]));
        }
        assert_eq!(a.send(&mut batch), 0);
        let all = receive_all(&b, 150);
        for (index, (from, bytes)) in all.iter().enumerate() {
            assert_eq!((*from, bytes.len()), (a.local_addr().unwrap(), index * 7));
        }
        assert_eq!(b.receive(&mut ReceiveBatch::new(4)).unwrap(), 0);
    }

    #[test]
    fn both_families_meet_and_v4_peers_look_like_v4() {
        let server = Socket::bind(&BindOptions::default()).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = loopback();
        let mut batch = SendBatch::new(1, 10);
        assert!(batch.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), b"hello"));
        assert_eq!(client.send(&mut batch), 0);
        let got = receive_all(&server, 1);
        assert_eq!(got, [(client.local_addr().unwrap(), b"hello".to_vec())]);
        assert!(batch.push(got[0].0, b"back"));
        assert_eq!(server.send(&mut batch), 0);
        assert_eq!(receive_all(&client, 1)[0].1, b"back");
    }

    #[test]
    fn too_long_datagrams_are_left_out() {
        let (a, b) = (loopback(), loopback());
        let to = b.local_addr().unwrap();
        let mut batch = SendBatch::new(2, 50_000);
        assert!(batch.push(to, &[1; 20_001]) && batch.push(to, &[2; 20_000]));
        assert_eq!(a.send(&mut batch), 0);
        let all = receive_all(&b, 1);
        assert_eq!((all.len(), all[0].1.len(), all[0].1[0]), (1, 20_000, 2));
    }

    #[test]
    fn a_busy_port_is_an_error_and_not_another_family() {
        let first = Socket::bind(&BindOptions::default()).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = Socket::bind(&BindOptions { port, ..BindOptions::default() });
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    }
}
