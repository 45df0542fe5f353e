//! The reliable channel of one peer, both directions (`docs/PROTOCOL.md` §1).
//!
//! One message is in flight at a time. It is sent again every [`RESEND_INTERVAL`] until its
//! acknowledgement comes, then the next one goes. Nothing here gives up: whoever owns a connection
//! decides when its peer is gone.
//!
//! What waits is bounded without ever losing a value that matters. A message that says how
//! something *is* (a gain, the properties, a client list) takes the place of a waiting one about the
//! same thing, so there is at most one per thing. Chat lines cannot replace each other: of them
//! [`MAX_QUEUED_CHATS`] may wait, and a further one is dropped and counted.

use std::collections::VecDeque;
use std::time::Duration;

use super::repeats::Repeats;
use crate::protocol::{
    ACK_ID, Assembler, Frame, MAX_BODY_BYTES, MAX_PART_BYTES, MAX_PARTS, Message, SPLIT_ID, ack_body,
    is_connless, parse_ack, split_bodies, write_frame,
};
use crate::units::{ChannelId, RESEND_INTERVAL, Time};

/// Chat lines that may wait for their turn; one more is dropped.
pub const MAX_QUEUED_CHATS: usize = 64;
/// How long a message that needs splitting waits, as the next in turn, for the peer to say that it
/// understands split messages. After that it goes in one piece, as peers without that feature expect.
pub const SPLIT_PATIENCE: Duration = Duration::from_secs(1);
/// Acknowledgements that may wait to be polled. More only arise when nobody polls, and then the
/// oldest are dropped: the peer resends.
const MAX_PENDING_ACKS: usize = 64;

/// One peer's reliable channel. See the module's text for the rules.
#[derive(Debug)]
pub struct Connection {
    may_split: bool,
    /// Long messages go whole without waiting for an answer about splitting.
    is_split_overdue: bool,
    next_counter: u8,
    queue: VecDeque<Message>,
    /// Since when the head of the queue has been waiting for [`Self::set_may_split`].
    unsplit_since: Option<Time>,
    in_flight: Option<InFlight>,
    acknowledged: Option<Message>,
    round_trip: Option<Duration>,
    dropped: u64,
    pending_acks: VecDeque<(u16, u8)>,
    repeats: Repeats,
    assembler: Assembler,
}

/// A message on its way, and which of its frames is.
#[derive(Debug)]
struct InFlight {
    message: Message,
    /// Id on the wire: the message's own, or the container's.
    id: u16,
    counter: u8,
    datagram: Vec<u8>,
    /// Whether the datagram waits to be polled.
    is_due: bool,
    resend_at: Time,
    /// When it left, while it has left only once: an acknowledgement of one sent again could be for either.
    launched: Option<Time>,
    /// Bodies of the parts that follow.
    further_parts: VecDeque<Vec<u8>>,
}

impl Connection {
    /// A new connection, with counters at 0.
    pub fn new(_now: Time) -> Self {
        Self {
            may_split: false,
            is_split_overdue: false,
            next_counter: 0,
            queue: VecDeque::new(),
            unsplit_since: None,
            in_flight: None,
            acknowledged: None,
            round_trip: None,
            dropped: 0,
            pending_acks: VecDeque::new(),
            repeats: Repeats::default(),
            assembler: Assembler::new(),
        }
    }

    /// Queues `message`, or lets it replace a waiting one about the same thing (in that one's
    /// place). It leaves at once if nothing else is in flight.
    pub fn send(&mut self, now: Time, message: &Message) {
        let subject = Subject::of(message);
        let waiting =
            self.queue.iter_mut().find(|waiting| subject.is_some() && Subject::of(waiting) == subject);
        if let Some(waiting) = waiting {
            *waiting = message.clone();
        } else if subject.is_none() && self.queued_chats() == MAX_QUEUED_CHATS {
            self.dropped += 1;
        } else {
            self.queue.push_back(message.clone());
        }
        self.start_next(now);
    }

    /// Whether the peer understands split messages: false until it has said so. Messages of more
    /// than [`MAX_PART_BYTES`] wait for it, but no longer than [`SPLIT_PATIENCE`]; one that waits
    /// already is due at once.
    pub fn set_may_split(&mut self, may_split: bool) {
        self.may_split = may_split;
    }

    /// The peer has had its time to say that it understands split messages: long ones wait no longer.
    pub fn give_up_splitting(&mut self) {
        self.is_split_overdue = true;
    }

    /// Takes a frame from the peer and acknowledges it. Returns the message that it completes:
    /// nothing for acknowledgements, repeats, single parts, unknown ids and malformed bodies.
    pub fn handle_frame(&mut self, now: Time, frame: &Frame<'_>) -> Option<Message> {
        if frame.id == ACK_ID {
            self.handle_ack(now, frame);
            return None;
        }
        if is_connless(frame.id) {
            return None;
        }
        self.acknowledge(frame);
        if self.repeats.is_repeat(now, frame) {
            return None;
        }
        if frame.id == SPLIT_ID {
            let (id, body) = self.assembler.push(frame.body)?;
            return Message::parse(id, &body).ok();
        }
        self.assembler.reset();
        Message::parse(frame.id, frame.body).ok()
    }

    /// Does what is due: resends, and sends in one piece what has waited long enough for splitting.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(in_flight) = &mut self.in_flight
            && now >= in_flight.resend_at
        {
            in_flight.is_due = true;
            in_flight.launched = None;
            in_flight.resend_at = now + RESEND_INTERVAL;
        }
        self.start_next(now);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.in_flight {
            Some(in_flight) => Some(in_flight.resend_at),
            None if self.may_split => self.unsplit_since,
            None => self.unsplit_since.map(|since| since + SPLIT_PATIENCE),
        }
    }

    /// The next datagram for the peer: acknowledgements first, then the message in flight.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if let Some((id, counter)) = self.pending_acks.pop_front() {
            let mut datagram = Vec::new();
            write_frame(ACK_ID, counter, &ack_body(id), &mut datagram);
            return Some(datagram);
        }
        let in_flight = self.in_flight.as_mut().filter(|in_flight| in_flight.is_due)?;
        in_flight.is_due = false;
        Some(in_flight.datagram.clone())
    }

    /// Whether nothing is queued or in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    /// The message on its way: sent, and not (wholly) acknowledged.
    pub fn in_flight(&self) -> Option<&Message> {
        self.in_flight.as_ref().map(|in_flight| &in_flight.message)
    }

    /// The message that the last frame handled has acknowledged (the last part of, if split). Each
    /// is returned once. An acknowledged message may still have been ignored by the peer.
    pub fn take_acknowledged(&mut self) -> Option<Message> {
        self.acknowledged.take()
    }

    /// Time from the last message (or part) that left only once to its acknowledgement.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Messages dropped: chat lines beyond [`MAX_QUEUED_CHATS`], and what is too long for the wire.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The peer has forgotten us: drops everything queued or in flight and half a split message.
    /// Counters go on, so that nothing new looks like a resend of something old.
    pub fn forget_unsent(&mut self) {
        self.queue.clear();
        self.unsplit_since = None;
        self.in_flight = None;
        self.assembler.reset();
    }

    fn queued_chats(&self) -> usize {
        self.queue.iter().filter(|waiting| Subject::of(waiting).is_none()).count()
    }

    fn acknowledge(&mut self, frame: &Frame<'_>) {
        if self.pending_acks.len() == MAX_PENDING_ACKS {
            self.pending_acks.pop_front();
        }
        self.pending_acks.push_back((frame.id, frame.counter));
    }

    /// An acknowledgement counts only if id and counter are those of the frame in flight.
    fn handle_ack(&mut self, now: Time, ack: &Frame<'_>) {
        let Ok(id) = parse_ack(ack.body) else { return };
        let is_ours = |in_flight: &mut InFlight| (in_flight.id, in_flight.counter) == (id, ack.counter);
        let Some(mut done) = self.in_flight.take_if(is_ours) else { return };
        self.round_trip = done.launched.map(|launched| now.since(launched)).or(self.round_trip);
        match done.further_parts.pop_front() {
            Some(part) => self.launch(now, done.message, SPLIT_ID, &part, done.further_parts),
            None => {
                self.acknowledged = Some(done.message);
                self.start_next(now);
            }
        }
    }

    /// Puts the head of the queue in flight, if it is its turn and it need not wait for splitting.
    fn start_next(&mut self, now: Time) {
        while self.in_flight.is_none()
            && let Some(message) = self.queue.front()
        {
            let mut body = Vec::new();
            message.write_body(&mut body);
            let is_long = body.len() > MAX_PART_BYTES;
            if is_long && !self.may_split && !self.is_split_overdue {
                let since = *self.unsplit_since.get_or_insert(now);
                if now < since + SPLIT_PATIENCE {
                    return;
                }
            }
            self.unsplit_since = None;
            if let Some(message) = self.queue.pop_front() {
                self.start(now, message, &body, is_long && self.may_split);
            }
        }
    }

    fn start(&mut self, now: Time, message: Message, body: &[u8], split: bool) {
        let limit = if split { MAX_PARTS * MAX_PART_BYTES } else { MAX_BODY_BYTES };
        if body.len() > limit {
            self.dropped += 1;
            return;
        }
        let id = message.id();
        let mut parts: VecDeque<_> = if split { split_bodies(id, body).collect() } else { VecDeque::new() };
        match parts.pop_front() {
            Some(part) => self.launch(now, message, SPLIT_ID, &part, parts),
            None => self.launch(now, message, id, body, parts),
        }
    }

    fn launch(
        &mut self,
        now: Time,
        message: Message,
        id: u16,
        body: &[u8],
        further_parts: VecDeque<Vec<u8>>,
    ) {
        let counter = self.next_counter;
        self.next_counter = counter.wrapping_add(1);
        let mut datagram = Vec::new();
        write_frame(id, counter, body, &mut datagram);
        let resend_at = now + RESEND_INTERVAL;
        let launched = Some(now);
        self.in_flight = Some(InFlight {
            message,
            id,
            counter,
            datagram,
            is_due: true,
            resend_at,
            launched,
            further_parts,
        });
    }
}

/// What a message is about. Of two about the same thing only the newer one is worth sending.
#[derive(PartialEq, Eq)]
struct Subject {
    id: u16,
    channel: Option<ChannelId>,
    /// An empty client list means "forget your mixer": a full one must not take its place.
    is_empty_list: bool,
}

impl Subject {
    /// `None` for messages that are each worth sending: chat.
    fn of(message: &Message) -> Option<Self> {
        let channel = match message {
            Message::ChatText(_) => return None,
            Message::ChannelGain { channel, .. }
            | Message::ChannelPan { channel, .. }
            | Message::MuteStateChanged { channel, .. } => Some(*channel),
            _ => None,
        };
        let is_empty_list = matches!(message, Message::ClientList(entries) if entries.is_empty());
        Some(Self { id: message.id(), channel, is_empty_list })
    }
}
