//! What the parameters of the slots ask for, on its way from any thread to the network thread.
//!
//! Parameters change on the audio thread, many times a second. So nothing is queued: each slot has room for one
//! value per control and a note of what has changed. And nobody is woken: during a session the network thread
//! runs at least once per frame, and without one there is nobody in a slot.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};

use super::mixer::{Move, SLOTS};

const FADER: u8 = 1;
const PAN: u8 = 2;
const MUTE: u8 = 4;
const SOLO: u8 = 8;

/// The last movement of every control of every slot.
#[derive(Default)]
pub(super) struct SlotMoves([SlotMove; SLOTS]);

#[derive(Default)]
struct SlotMove {
    /// Which of the values below are new.
    changed: AtomicU8,
    /// Bits of floats.
    fader: AtomicU32,
    pan: AtomicU32,
    mute: AtomicBool,
    solo: AtomicBool,
}

impl SlotMoves {
    /// Notes a movement; nothing happens for a slot that does not exist. Realtime-safe: two atomics.
    pub(super) fn note(&self, slot: usize, action: Move) {
        let Some(slot) = self.0.get(slot) else { return };
        let changed = match action {
            Move::Fader(fader) => {
                slot.fader.store(fader.to_bits(), Relaxed);
                FADER
            }
            Move::Pan(pan) => {
                slot.pan.store(pan.to_bits(), Relaxed);
                PAN
            }
            Move::Mute(mute) => {
                slot.mute.store(mute, Relaxed);
                MUTE
            }
            Move::Solo(solo) => {
                slot.solo.store(solo, Relaxed);
                SOLO
            }
        };
        slot.changed.fetch_or(changed, Release);
    }

    /// Hands every movement since the last call to `act`, by slot.
    pub(super) fn take(&self, mut act: impl FnMut(usize, Move)) {
        for (index, slot) in self.0.iter().enumerate() {
            // Reading first keeps the cache line shared while nothing happens.
            if slot.changed.load(Relaxed) == 0 {
                continue;
            }
            let changed = slot.changed.swap(0, Acquire);
            if changed & FADER != 0 {
                act(index, Move::Fader(f32::from_bits(slot.fader.load(Relaxed))));
            }
            if changed & PAN != 0 {
                act(index, Move::Pan(f32::from_bits(slot.pan.load(Relaxed))));
            }
            if changed & MUTE != 0 {
                act(index, Move::Mute(slot.mute.load(Relaxed)));
            }
            if changed & SOLO != 0 {
                act(index, Move::Solo(slot.solo.load(Relaxed)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(moves: &SlotMoves) -> Vec<(usize, Move)> {
        let mut taken = Vec::new();
        moves.take(|slot, action| taken.push((slot, action)));
        taken
    }

    #[test]
    fn the_last_value_of_each_control_is_taken_once() {
        let moves = SlotMoves::default();
        assert_eq!(taken(&moves), []);
        for fader in 0..100 {
            moves.note(15, Move::Fader(fader as f32));
        }
        moves.note(3, Move::Solo(true));
        moves.note(3, Move::Mute(true));
        moves.note(3, Move::Mute(false));
        moves.note(0, Move::Pan(0.25));
        moves.note(SLOTS, Move::Solo(true));
        let expected =
            [(0, Move::Pan(0.25)), (3, Move::Mute(false)), (3, Move::Solo(true)), (15, Move::Fader(99.0))];
        assert_eq!(taken(&moves), expected);
        assert_eq!(taken(&moves), []);
    }
}
