//! The personal mix: how we hear everyone, what of it the server has been told, and who has which slot.
//!
//! Parameters of a plugin are there before anybody has joined, so they belong to slots. Everyone else in the
//! session has one while there are enough: a newcomer gets the lowest free one and keeps it until leaving. Our
//! own channel has a strip but no slot: it stays out of the way of the others, who come and go.
//!
//! A server that starts afresh, or is lost and found, plays everyone at unity. Then the mix is made again as it
//! was, for those who come back soon enough: by their channel or, where the server gives out new ones, by name.

use std::time::Duration;

use super::mix_memory::{Remembered, remember};
use crate::protocol::{ChannelInfo, ClientEntry};
use crate::units::{ChannelId, MAX_CHANNELS, Time, fader_gain};

/// Slots for the others: as many strips have parameters.
pub const SLOTS: usize = 16;
/// The highest position of a fader: unity.
pub const FADER_MAX: f32 = 100.0;
/// Groups of faders that move together: 1..=8, as in Jamulus.
pub const GROUPS: u8 = 8;
/// A pan in the middle.
const PAN_CENTRE: f32 = 0.5;
/// Most people who are waited for: a server has no more.
const MAX_MISSED: usize = MAX_CHANNELS;
/// After the first has come back into a lost session, this long the slots of others wait for them.
const RETURN_TIME: Duration = Duration::from_secs(60);

/// How we hear one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strip {
    /// Who.
    pub channel: ChannelId,
    /// The slot whose parameters move it, `0..SLOTS`; none for ourselves and for those beyond [`SLOTS`].
    pub slot: Option<usize>,
    /// 0.0 silent to [`FADER_MAX`]; what it means in decibels says [`fader_gain`].
    pub fader: f32,
    /// 0.0 left, 0.5 centre, 1.0 right.
    pub pan: f32,
    /// Not heard.
    pub mute: bool,
    /// While anybody is on solo, all who are not are silent.
    pub solo: bool,
    /// The group whose faders move together, `1..=GROUPS`.
    pub group: Option<u8>,
}

impl Strip {
    /// How everyone is heard who was not told otherwise.
    pub const fn new(channel: ChannelId) -> Self {
        Self { channel, slot: None, fader: FADER_MAX, pan: PAN_CENTRE, mute: false, solo: false, group: None }
    }

    fn gain(&self, somebody_is_solo: bool) -> f32 {
        if self.mute || (somebody_is_solo && !self.solo) { 0.0 } else { fader_gain(self.fader) }
    }
}

/// One movement on a strip. Values beyond a control's end are taken as its end, NaN is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// See [`Strip::fader`].
    Fader(f32),
    /// See [`Strip::pan`].
    Pan(f32),
    /// See [`Strip::mute`].
    Mute(bool),
    /// See [`Strip::solo`].
    Solo(bool),
}

/// What the server is to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Telling {
    /// Linear.
    Gain(ChannelId, f32),
    /// As in [`Strip::pan`].
    Pan(ChannelId, f32),
}

/// Our own channel in our mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnSound {
    /// As its strip says.
    #[default]
    AsSet,
    /// The others are wanted alone.
    Off,
    /// Full on, to find out how late it comes back.
    On,
}

/// The mix of one session.
#[derive(Default)]
pub(super) struct Mixer {
    own: Option<ChannelId>,
    own_sound: OwnSound,
    /// Everyone there, in the server's order.
    present: Vec<Person>,
    /// Those of a session that was lost who are not back yet.
    missed: Vec<Person>,
    /// When they are forgotten; not before anybody is back.
    forget_at: Option<Time>,
    /// Latest first.
    memory: Vec<Remembered>,
    memory_changed: bool,
}

struct Person {
    info: ChannelInfo,
    is_me: bool,
    strip: Strip,
    /// Where its group would have put the fader if faders had no ends.
    led_to: f32,
    /// Somebody has moved something: this mix is wanted, whoever this turns out to be.
    is_moved: bool,
    /// What the server knows; NaN: nothing that could be relied upon.
    told_gain: f32,
    told_pan: f32,
}

impl Mixer {
    /// The server has told which channel is ours.
    pub(super) fn set_own(&mut self, channel: ChannelId) {
        self.own = Some(channel);
    }

    /// What becomes of our own channel.
    pub(super) fn hear_own(&mut self, own_sound: OwnSound) {
        self.own_sound = own_sound;
    }

    /// Whether our own channel is in the mix, as the server was told.
    pub(super) fn hears_own(&self) -> bool {
        self.present.iter().all(|person| !person.is_me || person.told_gain != 0.0)
    }

    /// Who is there now.
    pub(super) fn set_clients(&mut self, now: Time, clients: &[ClientEntry]) {
        if self.forget_at.is_some_and(|deadline| now >= deadline) {
            self.missed.clear();
            self.forget_at = None;
        }
        let mut before = std::mem::take(&mut self.present);
        for client in clients {
            // A list that names somebody twice is wrong; nothing here is to grow by it.
            if self.present.iter().any(|person| person.strip.channel == client.channel) {
                continue;
            }
            let is_me = self.own == Some(client.channel);
            let known = before.iter().position(|person| person.strip.channel == client.channel);
            let person = match known.map(|index| before.swap_remove(index)) {
                Some(person) if person.is_me == is_me && !is_somebody_else(&person.info, &client.info) => {
                    Person { info: client.info.clone(), ..person }
                }
                Some(_) => Person { told_gain: f32::NAN, told_pan: f32::NAN, ..Person::new(client, is_me) },
                None => Person::new(client, is_me),
            };
            self.present.push(person);
        }
        self.welcome_back();
        self.recall();
        self.give_slots();
        if !self.missed.is_empty() && !self.present.is_empty() {
            self.forget_at.get_or_insert(now + RETURN_TIME);
        }
    }

    /// Moves something for `channel`; nothing when nobody is there. A fader takes its group along.
    pub(super) fn act(&mut self, channel: ChannelId, action: Move) {
        self.act_where(|strip| strip.channel == channel, action);
    }

    /// Moves something for who has `slot`; nothing when nobody has it. A fader takes its group along.
    pub(super) fn act_in_slot(&mut self, slot: usize, action: Move) {
        self.act_where(|strip| strip.slot == Some(slot), action);
    }

    /// Moves the fader of `channel`, and of no other in its group.
    pub(super) fn set_fader_alone(&mut self, channel: ChannelId, fader: f32) {
        if let Some(person) = self.find(|strip| strip.channel == channel).filter(|_| !fader.is_nan()) {
            person.put_fader(fader);
            self.memorise(&[channel]);
        }
    }

    /// Puts `channel` into a group, or none; what is no group is ignored.
    pub(super) fn set_group(&mut self, channel: ChannelId, group: Option<u8>) {
        let is_group = group.is_none_or(|group| (1..=GROUPS).contains(&group));
        if let Some(person) = self.find(|strip| strip.channel == channel).filter(|_| is_group) {
            person.strip.group = group;
            person.led_to = person.strip.fader;
            person.is_moved = true;
            self.memorise(&[channel]);
        }
    }

    /// The session is lost, or the server has started afresh: everyone is missed.
    pub(super) fn lose(&mut self) {
        self.missed.append(&mut self.present);
        self.missed.truncate(MAX_MISSED);
        self.forget_at = None;
    }

    /// The session is over.
    pub(super) fn clear(&mut self) {
        let (memory, memory_changed) = (std::mem::take(&mut self.memory), self.memory_changed);
        *self = Self { memory, memory_changed, ..Self::default() };
    }

    /// How people were heard before, latest first.
    pub(super) fn set_memory(&mut self, memory: Vec<Remembered>) {
        self.memory = memory.into_iter().map(Remembered::clamped).collect();
    }

    /// The same, if somebody was heard otherwise since the last call.
    pub(super) fn changed_memory(&mut self) -> Option<&[Remembered]> {
        std::mem::take(&mut self.memory_changed).then_some(&self.memory)
    }

    /// What the server does not know yet: telling it is the caller's duty from now on.
    pub(super) fn take_changes(&mut self) -> Vec<Telling> {
        let somebody_is_solo = self.somebody_is_solo();
        let mut changes = Vec::new();
        for Person { strip, is_me, told_gain, told_pan, .. } in &mut self.present {
            let gain = match self.own_sound {
                OwnSound::Off if *is_me => 0.0,
                OwnSound::On if *is_me => 1.0,
                _ => strip.gain(somebody_is_solo),
            };
            if std::mem::replace(told_gain, gain) != gain {
                changes.push(Telling::Gain(strip.channel, gain));
            }
            if std::mem::replace(told_pan, strip.pan) != strip.pan {
                changes.push(Telling::Pan(strip.channel, strip.pan));
            }
        }
        changes
    }

    /// How everyone is heard, in the server's order.
    pub(super) fn strips(&self) -> impl Iterator<Item = Strip> {
        self.present.iter().map(|person| person.strip)
    }

    fn somebody_is_solo(&self) -> bool {
        self.present.iter().any(|person| person.strip.solo)
    }

    fn find(&mut self, is_meant: impl Fn(&Strip) -> bool) -> Option<&mut Person> {
        self.present.iter_mut().find(|person| is_meant(&person.strip))
    }

    fn act_where(&mut self, is_meant: impl Fn(&Strip) -> bool, action: Move) {
        let Some(person) = self.find(is_meant) else { return };
        let strip = &mut person.strip;
        match action {
            Move::Fader(fader) if !fader.is_nan() => {
                let (channel, group, before) = (strip.channel, strip.group, strip.fader);
                person.put_fader(fader);
                let by = person.strip.fader - before;
                self.lead(channel, group, by);
                return self.memorise(&[channel]);
            }
            Move::Pan(pan) if !pan.is_nan() => strip.pan = pan.clamp(0.0, 1.0),
            Move::Mute(mute) => strip.mute = mute,
            Move::Solo(solo) => strip.solo = solo,
            Move::Fader(_) | Move::Pan(_) => return,
        }
        let channel = strip.channel;
        person.is_moved = true;
        self.memorise(&[channel]);
    }

    /// Takes the rest of a group along: one step of a fader is as many decibels everywhere.
    fn lead(&mut self, leader: ChannelId, group: Option<u8>, by: f32) {
        let Some(group) = group else { return };
        let mut led = Vec::new();
        for person in &mut self.present {
            if person.strip.channel != leader && person.strip.group == Some(group) {
                let led_to = (person.led_to + by).clamp(-FADER_MAX, 2.0 * FADER_MAX);
                person.put_fader(led_to);
                person.led_to = led_to;
                led.push(person.strip.channel);
            }
        }
        self.memorise(&led);
    }

    /// Gives those who were missed what they had. Names come later than people, so this may be long after.
    fn welcome_back(&mut self) {
        for matches in [is_same_seat, is_same_name] {
            for index in 0..self.present.len() {
                let person = &self.present[index];
                if person.is_moved {
                    continue;
                }
                let Some(found) = self.missed.iter().position(|missed| matches(missed, person)) else {
                    continue;
                };
                let mut strip = self.missed.swap_remove(found).strip;
                if strip.slot.is_some_and(|slot| self.has_slot(slot)) {
                    strip.slot = self.present[index].strip.slot;
                }
                let person = &mut self.present[index];
                person.strip = Strip { channel: person.strip.channel, ..strip };
                person.led_to = strip.fader;
                person.is_moved = true;
            }
        }
    }

    /// Hears those who were heard before as then, once their name is known.
    fn recall(&mut self) {
        for person in
            self.present.iter_mut().filter(|person| !person.is_moved && !person.info.name.is_empty())
        {
            let known = self.memory.iter().find(|known| known.name == person.info.name);
            if let Some(known) = known {
                person.strip = known.recall(person.strip);
                person.led_to = person.strip.fader;
                person.is_moved = true;
            }
        }
    }

    /// Keeps how everyone with a name is heard who is heard otherwise than at first.
    fn memorise(&mut self, channels: &[ChannelId]) {
        for person in self.present.iter().filter(|person| channels.contains(&person.strip.channel)) {
            if !person.info.name.is_empty() {
                remember(&mut self.memory, Remembered::new(&person.info.name, &person.strip));
                self.memory_changed = true;
            }
        }
    }

    fn give_slots(&mut self) {
        for index in 0..self.present.len() {
            let person = &self.present[index];
            if person.strip.slot.is_none() && !person.is_me {
                let is_awaited = |slot| self.missed.iter().any(|missed| missed.strip.slot == Some(slot));
                let mut free = (0..SLOTS).filter(|slot| !self.has_slot(*slot));
                // Better the slot of somebody who may come back than none.
                let slot = free.clone().find(|slot| !is_awaited(*slot)).or_else(|| free.next());
                self.present[index].strip.slot = slot;
            }
        }
    }

    fn has_slot(&self, slot: usize) -> bool {
        self.present.iter().any(|person| person.strip.slot == Some(slot))
    }
}

impl Person {
    fn new(client: &ClientEntry, is_me: bool) -> Self {
        let strip = Strip::new(client.channel);
        Self {
            info: client.info.clone(),
            is_me,
            strip,
            led_to: strip.fader,
            is_moved: false,
            // A server plays everyone like this until it is told otherwise.
            told_gain: 1.0,
            told_pan: PAN_CENTRE,
        }
    }

    fn put_fader(&mut self, fader: f32) {
        self.strip.fader = fader.clamp(0.0, FADER_MAX);
        self.led_to = self.strip.fader;
        self.is_moved = true;
    }
}

/// Whether a channel that stayed occupied from one list to the next has a new owner: a list that waits to be sent
/// may be replaced by a later one. People change their name, or their city, but hardly all at once.
fn is_somebody_else(before: &ChannelInfo, after: &ChannelInfo) -> bool {
    let rest = |info: &ChannelInfo| (info.country, info.instrument, info.skill, info.city.clone());
    !before.name.is_empty()
        && before.name != after.name
        && (after.name.is_empty() || rest(before) != rest(after))
}

fn is_same_seat(missed: &Person, person: &Person) -> bool {
    let both_me = missed.is_me && person.is_me;
    let both_there = missed.strip.channel == person.strip.channel && missed.info == person.info;
    both_me || (both_there && missed.is_me == person.is_me)
}

fn is_same_name(missed: &Person, person: &Person) -> bool {
    !missed.is_me && !person.is_me && !person.info.name.is_empty() && missed.info.name == person.info.name
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ChannelId = ChannelId(0);
    const NOW: Time = Time::ZERO;

    fn entry(channel: u8, name: &str) -> ClientEntry {
        let info = ChannelInfo { name: name.to_owned(), ..ChannelInfo::default() };
        ClientEntry { channel: ChannelId(channel), info }
    }

    /// We on channel 0, and these others.
    fn entries(others: &[(u8, &str)]) -> Vec<ClientEntry> {
        let mut entries = vec![entry(0, "Me")];
        entries.extend(others.iter().map(|(channel, name)| entry(*channel, name)));
        entries
    }

    fn mixer(others: &[(u8, &str)]) -> Mixer {
        let mut mixer = Mixer::default();
        mixer.set_own(ME);
        mixer.set_clients(NOW, &entries(others));
        mixer
    }

    fn slots(mixer: &Mixer) -> Vec<(u8, Option<usize>)> {
        mixer.strips().map(|strip| (strip.channel.0, strip.slot)).collect()
    }

    fn gain(mixer: &mut Mixer, channel: u8) -> Option<f32> {
        mixer.take_changes().into_iter().find_map(|change| match change {
            Telling::Gain(ChannelId(told), gain) if told == channel => Some(gain),
            _ => None,
        })
    }

    #[test]
    fn only_what_differs_from_what_the_server_knows_is_told() {
        let mut mixer = mixer(&[(1, "Ann"), (2, "Bob")]);
        assert_eq!(mixer.take_changes(), [], "unity and centre are what a server begins with");
        mixer.act(ChannelId(1), Move::Fader(50.0));
        mixer.act(ChannelId(1), Move::Pan(0.0));
        mixer.act(ChannelId(9), Move::Fader(0.0));
        let expected = [Telling::Gain(ChannelId(1), fader_gain(50.0)), Telling::Pan(ChannelId(1), 0.0)];
        assert_eq!(mixer.take_changes(), expected);
        assert_eq!(mixer.take_changes(), []);
        for (control, clamped) in [(Move::Fader(-5.0), 0.0), (Move::Fader(1e9), 1.0)] {
            mixer.act(ChannelId(1), control);
            assert_eq!(gain(&mut mixer, 1), Some(clamped));
        }
        mixer.act(ChannelId(1), Move::Fader(f32::NAN));
        mixer.act(ChannelId(1), Move::Pan(f32::NAN));
        assert_eq!(mixer.take_changes(), []);
    }

    #[test]
    fn solo_silences_all_others_and_mute_wins() {
        let mut mixer = mixer(&[(1, "Ann"), (2, "Bob")]);
        mixer.act(ChannelId(1), Move::Solo(true));
        let silenced = [Telling::Gain(ME, 0.0), Telling::Gain(ChannelId(2), 0.0)];
        assert_eq!(mixer.take_changes(), silenced);
        mixer.act(ChannelId(2), Move::Fader(50.0));
        assert_eq!(mixer.take_changes(), [], "heard later");
        mixer.act(ChannelId(1), Move::Mute(true));
        assert_eq!(mixer.take_changes(), [Telling::Gain(ChannelId(1), 0.0)]);
        // Who was on solo leaves: everybody is back.
        mixer.set_clients(NOW, &entries(&[(2, "Bob")]));
        let back = [Telling::Gain(ME, 1.0), Telling::Gain(ChannelId(2), fader_gain(50.0))];
        assert_eq!(mixer.take_changes(), back);
    }

    #[test]
    fn our_own_fader_moved_while_others_are_wanted_alone_counts_afterwards() {
        let mut mixer = mixer(&[(1, "Ann")]);
        mixer.hear_own(OwnSound::Off);
        assert!(mixer.hears_own(), "the server is yet to be told");
        assert_eq!(mixer.take_changes(), [Telling::Gain(ME, 0.0)]);
        assert!(!mixer.hears_own());
        mixer.act(ME, Move::Fader(50.0));
        mixer.act(ChannelId(1), Move::Mute(true));
        assert_eq!(mixer.take_changes(), [Telling::Gain(ChannelId(1), 0.0)]);
        mixer.hear_own(OwnSound::On);
        assert_eq!(mixer.take_changes(), [Telling::Gain(ME, 1.0)]);
        mixer.hear_own(OwnSound::AsSet);
        assert_eq!(mixer.take_changes(), [Telling::Gain(ME, fader_gain(50.0))]);
        assert!(mixer.hears_own());
    }

    #[test]
    fn a_slot_is_kept_until_leaving_and_newcomers_take_the_lowest_free_one() {
        let mut mixer = mixer(&[(1, "Ann"), (2, "Bob"), (5, "Cay")]);
        assert_eq!(slots(&mixer), [(0, None), (1, Some(0)), (2, Some(1)), (5, Some(2))]);
        mixer.act_in_slot(0, Move::Fader(10.0));
        mixer.take_changes();
        mixer.set_clients(NOW, &entries(&[(2, "Bob"), (5, "Cay")]));
        mixer.set_clients(NOW, &entries(&[(1, "Dan"), (2, "Bob"), (3, "Eve"), (5, "Cay")]));
        assert_eq!(slots(&mixer), [(0, None), (1, Some(0)), (2, Some(1)), (3, Some(3)), (5, Some(2))]);
        assert_eq!(mixer.take_changes(), [], "who takes a slot takes no value with it");
        let crowd: Vec<_> = (1..30).map(|channel| (channel, "")).collect();
        mixer.set_clients(NOW, &entries(&crowd));
        let given: Vec<_> = mixer.strips().filter_map(|strip| strip.slot).collect();
        assert_eq!(given.len(), SLOTS);
        mixer.take_changes();
        mixer.act_in_slot(SLOTS, Move::Fader(0.0));
        assert_eq!(mixer.take_changes(), []);
    }

    #[test]
    fn who_comes_back_into_a_lost_session_is_heard_as_before() {
        let mut mixer = mixer(&[(1, "Ann"), (2, "Bob"), (3, "Cay")]);
        mixer.act(ME, Move::Fader(0.0));
        mixer.act(ChannelId(1), Move::Fader(20.0));
        mixer.act(ChannelId(2), Move::Pan(1.0));
        mixer.take_changes();
        mixer.lose();
        assert_eq!(mixer.strips().count(), 0);
        // A server that started afresh: other channels, and names come later.
        mixer.set_own(ChannelId(1));
        let list = |others: &[(u8, &str)]| {
            others.iter().map(|(channel, name)| entry(*channel, name)).collect::<Vec<_>>()
        };
        mixer.set_clients(NOW, &list(&[(0, ""), (1, "Me"), (2, "New")]));
        assert_eq!(slots(&mixer), [(0, Some(3)), (1, None), (2, Some(4))], "three slots are kept");
        assert_eq!(mixer.take_changes(), [Telling::Gain(ChannelId(1), 0.0)], "our own channel");
        mixer.set_clients(NOW, &list(&[(0, "Bob"), (1, "Me"), (2, "New"), (3, "Ann")]));
        assert_eq!(slots(&mixer), [(0, Some(1)), (1, None), (2, Some(4)), (3, Some(0))]);
        let expected = [Telling::Pan(ChannelId(0), 1.0), Telling::Gain(ChannelId(3), fader_gain(20.0))];
        assert_eq!(mixer.take_changes(), expected);
        // Cay is not waited for for ever.
        mixer.set_clients(
            NOW + RETURN_TIME,
            &list(&[(0, "Bob"), (1, "Me"), (2, "New"), (3, "Ann"), (4, "F")]),
        );
        assert_eq!(slots(&mixer)[4], (4, Some(2)));
    }

    #[test]
    fn a_lost_crowd_gives_its_slots_to_those_who_are_there() {
        let crowd: Vec<_> = (1..=16).map(|channel| (channel, "old")).collect();
        let mut mixer = mixer(&crowd);
        mixer.lose();
        mixer.set_clients(NOW, &entries(&[(40, "New")]));
        assert_eq!(slots(&mixer), [(0, None), (40, Some(0))]);
        mixer.set_clients(NOW, &entries(&[(1, "old"), (40, "New")]));
        let given: Vec<_> = mixer.strips().filter_map(|strip| strip.slot).collect();
        assert!(given[0] != given[1], "{given:?}");
    }

    #[test]
    fn a_channel_that_has_changed_hands_between_two_lists_begins_at_unity() {
        let mut mixer = mixer(&[(1, "Ann")]);
        mixer.act(ChannelId(1), Move::Fader(20.0));
        mixer.take_changes();
        mixer.set_clients(NOW, &entries(&[(1, "Anna")]));
        assert_eq!(mixer.take_changes(), [], "a new name is not a new person");
        let mut bob = entry(1, "Bob");
        bob.info.country = 82;
        mixer.set_clients(NOW, &[entry(0, "Me"), bob]);
        assert_eq!(gain(&mut mixer, 1), Some(1.0), "told, for nobody knows what the server did in between");
    }

    fn faders(mixer: &Mixer) -> Vec<f32> {
        mixer.strips().map(|strip| strip.fader).collect()
    }

    #[test]
    fn faders_of_a_group_move_together_and_keep_their_distance() {
        let mut mixer = mixer(&[(1, "Ana"), (2, "Ben"), (3, "Cai")]);
        for (channel, fader) in [(1, 90.0), (2, 60.0), (3, 80.0)] {
            mixer.act(ChannelId(channel), Move::Fader(fader));
        }
        for channel in [1, 2] {
            mixer.set_group(ChannelId(channel), Some(8));
        }
        mixer.set_group(ChannelId(3), Some(1));
        mixer.act(ChannelId(1), Move::Fader(70.0));
        assert_eq!(faders(&mixer), [100.0, 70.0, 40.0, 80.0]);
        // Over the end and back.
        mixer.act(ChannelId(1), Move::Fader(0.0));
        assert_eq!(faders(&mixer)[2], 0.0);
        mixer.act(ChannelId(1), Move::Fader(90.0));
        assert_eq!(faders(&mixer), [100.0, 90.0, 60.0, 80.0]);
        mixer.set_fader_alone(ChannelId(1), 50.0);
        assert_eq!(faders(&mixer), [100.0, 50.0, 60.0, 80.0]);
        mixer.set_group(ChannelId(1), None);
        mixer.act(ChannelId(1), Move::Fader(10.0));
        assert_eq!(faders(&mixer), [100.0, 10.0, 60.0, 80.0]);
    }

    #[test]
    fn there_are_eight_groups_and_nonsense_moves_nobody() {
        let mut mixer = mixer(&[(1, "Ana")]);
        for group in [Some(0), Some(9), Some(255)] {
            mixer.set_group(ChannelId(1), group);
        }
        mixer.set_fader_alone(ChannelId(1), f32::NAN);
        mixer.set_fader_alone(ChannelId(9), 3.0);
        mixer.set_group(ChannelId(9), Some(1));
        assert!(mixer.strips().all(|strip| strip.group.is_none() && strip.fader == FADER_MAX));
    }

    #[test]
    fn who_was_heard_before_is_heard_as_then_in_another_session() {
        let mut mixer = mixer(&[(1, "Ana"), (2, "Ben")]);
        assert!(mixer.changed_memory().is_none(), "nobody was moved");
        mixer.act(ChannelId(1), Move::Fader(40.0));
        mixer.act(ChannelId(1), Move::Mute(true));
        let memory = mixer.changed_memory().expect("somebody was moved").to_vec();
        assert_eq!((memory.len(), memory[0].name.as_str(), memory[0].fader), (1, "Ana", 40.0));
        assert!(mixer.changed_memory().is_none(), "told once");
        // Elsewhere, by another instance, on another channel, and the name comes late.
        let mut other = Mixer::default();
        other.set_memory(memory);
        other.set_own(ME);
        other.set_clients(NOW, &entries(&[(7, "")]));
        assert_eq!(gain(&mut other, 7), None);
        other.set_clients(NOW, &entries(&[(7, "Ana")]));
        assert_eq!(gain(&mut other, 7), Some(0.0));
        other.act(ChannelId(7), Move::Mute(false));
        assert_eq!(gain(&mut other, 7), Some(fader_gain(40.0)));
        // The end of a session is not the end of what is remembered.
        other.clear();
        other.set_own(ME);
        other.set_clients(NOW, &entries(&[(3, "Ana")]));
        assert_eq!(gain(&mut other, 3), Some(fader_gain(40.0)));
    }
}
