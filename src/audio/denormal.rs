//! Numbers too small to hear must not cost a hundred times the CPU.

use std::marker::PhantomData;

/// While it lives, this thread's floating-point unit treats denormal numbers as zero; dropping it
/// restores what the host had set. Does nothing on processors other than x86-64 and AArch64.
///
/// Decaying filters, meters and Opus's own state end in denormals after silence, and a host may or
/// may not have switched them off. It belongs to its thread, so it cannot be sent to another.
#[must_use = "denormals are flushed only while the guard lives"]
pub struct FlushDenormals {
    before: control::Word,
    _thread: PhantomData<*const ()>,
}

impl FlushDenormals {
    /// Starts flushing on this thread.
    pub fn new() -> Self {
        let before = control::read();
        control::write(before | control::FLUSH);
        Self { before, _thread: PhantomData }
    }
}

impl Default for FlushDenormals {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        // Only our bits: whoever changed another one meanwhile (a rounding mode) meant it.
        control::write((control::read() & !control::FLUSH) | (self.before & control::FLUSH));
    }
}

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u32;
    /// Flush to zero (bit 15) and denormals are zero (bit 6) of MXCSR.
    pub(super) const FLUSH: Word = 1 << 15 | 1 << 6;

    pub(super) fn read() -> Word {
        let mut word: Word = 0;
        // SAFETY: stores MXCSR to a local of the right size; SSE is part of x86-64.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: the word comes from `read` with only defined bits changed, so loading it cannot
        // fault, and how denormals are treated is not something that compiled code relies on here.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    pub(super) type Word = u64;
    /// Flush to zero (bit 24) of FPCR, which covers inputs as well as results.
    pub(super) const FLUSH: Word = 1 << 24;

    pub(super) fn read() -> Word {
        let word: Word;
        // SAFETY: reads a register that user code may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: the word comes from `read` with only a defined bit changed.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod control {
    pub(super) type Word = u32;
    pub(super) const FLUSH: Word = 0;

    pub(super) fn read() -> Word {
        0
    }

    pub(super) fn write(_: Word) {}
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn halved_smallest_normal() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    fn doubled_denormal() -> f32 {
        black_box(f32::from_bits(0x0040_0000)) * black_box(4.0)
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn flushes_results_and_inputs_while_alive_and_restores_after() {
        assert!(halved_smallest_normal() > 0.0, "the test needs denormals to begin with");
        {
            let _outer = FlushDenormals::new();
            assert_eq!(halved_smallest_normal(), 0.0);
            assert_eq!(doubled_denormal(), 0.0);
            drop(FlushDenormals::new());
            assert_eq!(halved_smallest_normal(), 0.0, "an inner guard leaves the outer one in force");
        }
        assert!(halved_smallest_normal() > 0.0);
        assert!(doubled_denormal() > 0.0);
    }
}
