//! Nothing in the audio room allocates or frees after it has been made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;

use jamulet::audio::{
    Decoder, Encoder, FadeIn, FlushDenormals, JitterBuffer, PeakMeter, Playout, Resampler, SampleFifo,
    StereoGain, convert_layout, mix_into,
};
use jamulet::units::{BufferSize, FrameSize, Layout, Quality, StreamFormat};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// Counts what the armed thread asks of the allocator.
struct Counting;

fn count() {
    if ARMED.get() {
        COUNT.set(COUNT.get() + 1);
    }
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Memory) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Memory) {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and frees while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    COUNT.set(0);
    ARMED.set(true);
    work();
    ARMED.set(false);
    COUNT.get()
}

fn formats() -> impl Iterator<Item = StreamFormat> {
    [FrameSize::Samples64, FrameSize::Samples128].into_iter().flat_map(|frame| {
        [Layout::Mono, Layout::Stereo].into_iter().flat_map(move |layout| {
            [Quality::Low, Quality::High, Quality::Max]
                .map(|quality| StreamFormat::stock(frame, layout, quality))
        })
    })
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))), 2);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn codecs_and_playout() {
    for format in formats() {
        let values = format.frame.samples() * format.layout.channels();
        let (mut encoder, mut decoder) = (Encoder::new(format).unwrap(), Decoder::new(format).unwrap());
        let mut playout = Playout::new(format, BufferSize::Auto).unwrap();
        let pcm: Vec<f32> = (0..values).map(|at| (at as f32 * 0.1).sin()).collect();
        let mut coded = vec![0; format.frame_bytes()];
        let mut out = vec![0.0; values];
        let count = allocations(|| {
            for index in 0..6000i64 {
                encoder.encode(&pcm, &mut coded);
                decoder.decode((index % 10 != 0).then_some(&coded), &mut out);
                // Loss, lateness, restarts, bursts and sizes.
                if index % 7 != 0 && index % 2000 < 1700 {
                    playout.put(index - index % 11, &coded);
                    playout.put(index, &coded);
                }
                match index {
                    1000 => playout.set_size(BufferSize::Frames(12)),
                    2500 => playout.set_burst(8.0),
                    4000 => playout.set_size(BufferSize::Auto),
                    5000 => playout.reset(),
                    _ => {}
                }
                if index % 8 == 0 {
                    playout.begin_pull();
                    for _ in 0..8 {
                        playout.next_frame(&mut out);
                    }
                }
            }
            encoder.reset();
            decoder.reset();
        });
        assert_eq!(count, 0, "{format:?}");
        assert!(playout.stats().slipped > 0 && playout.stats().late > 0 && playout.stats().lost > 0);
    }
}

#[test]
fn jitter_buffer_resampler_and_mixing() {
    let mut buffer = JitterBuffer::new(FrameSize::Samples64, 256, 20);
    let mut meter = PeakMeter::new(44_100.0);
    let mut fade = FadeIn::new(FrameSize::Samples64, 2);
    let mut up = Resampler::new(44_100.0, 48_000.0, Layout::Stereo, 512).unwrap();
    let mut down = Resampler::new(48_000.0, 44_100.0, Layout::Stereo, 512).unwrap();
    let (mut wire, mut host) = (SampleFifo::with_capacity(1200, 2), SampleFifo::with_capacity(1200, 2));
    let (mut block, mut mono, mut resampled) = (vec![0.3; 1024], vec![0.0; 512], 0);
    let count = allocations(|| {
        let _guard = FlushDenormals::new();
        for index in 0..3000i64 {
            buffer.put(index * 3 % 5000, &[0; 20]);
            buffer.get();
            meter.update(&block, 2);
            fade.advance();
            up.process(&block, &mut wire);
            let length = wire.pop_into(&mut block);
            resampled += length;
            down.process(&block[..length], &mut host);
            host.pop_into(&mut block);
            convert_layout(&mut mono, Layout::Mono, &block, Layout::Stereo);
            mix_into(
                &mut block,
                Layout::Stereo,
                &mono,
                Layout::Mono,
                StereoGain::panned(fade.gain() * 1e-3, 0.3),
            );
        }
        up.reset();
        down.reset();
    });
    assert_eq!(count, 0);
    assert!(resampled > 1_000_000);
}
