//! Who sits in which slot.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::units::ChannelId;

use super::channel::Channel;

/// The server's slots.
pub(super) struct Roster {
    /// By channel.
    slots: Vec<Option<Box<Channel>>>,
    by_address: BTreeMap<SocketAddr, usize>,
}

impl Roster {
    /// `slots` empty slots, at most 256.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(slots).collect(), by_address: BTreeMap::new() }
    }

    /// The lowest free slot.
    pub(super) fn free_slot(&self) -> Option<ChannelId> {
        let index = self.slots.iter().position(Option::is_none)?;
        Some(ChannelId(u8::try_from(index).ok()?))
    }

    /// Seats `channel` in its slot.
    pub(super) fn insert(&mut self, channel: Channel) {
        let index = channel.id().index();
        self.by_address.insert(channel.address(), index);
        self.slots[index] = Some(Box::new(channel));
    }

    /// Empties a slot.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Box<Channel>> {
        let channel = self.slots.get_mut(id.index())?.take()?;
        self.by_address.remove(&channel.address());
        Some(channel)
    }

    /// The client at `address`.
    pub(super) fn at(&self, address: SocketAddr) -> Option<ChannelId> {
        self.by_address.get(&address).and_then(|index| u8::try_from(*index).ok()).map(ChannelId)
    }

    /// The client at `address`.
    pub(super) fn at_mut(&mut self, address: SocketAddr) -> Option<&mut Channel> {
        let index = *self.by_address.get(&address)?;
        self.slots[index].as_deref_mut()
    }

    /// The client in slot `id`, which may be any number.
    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.slots.get_mut(id.index())?.as_deref_mut()
    }

    /// Everyone, ascending by channel.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slots.iter().flatten().map(|channel| &**channel)
    }

    /// Everyone, ascending by channel.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.slots.iter_mut().flatten().map(|channel| &mut **channel)
    }

    /// Taken slots.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }
}
