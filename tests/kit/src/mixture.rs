//! A recording as the sum of two known parts: how loud each is, and what is missing.

use std::ops::Range;

use crate::signal::rms;

/// How loud each of two parts is in a recording of their sum (linear), by least squares: exact
/// whatever else is in it, as long as that has nothing to do with the parts. All three slices
/// are aligned and of the same length; `None` when the parts are too alike, or silent.
pub fn gains(recording: &[f32], parts: [&[f32]; 2]) -> Option<[f64; 2]> {
    let [a, b] = parts;
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    let (ra, rb) = (dot(recording, a), dot(recording, b));
    let determinant = aa * bb - ab * ab;
    (determinant > 1e-6 * aa * bb && determinant > 0.0)
        .then(|| [(ra * bb - rb * ab) / determinant, (rb * aa - ra * ab) / determinant])
}

/// Stretches of `window` samples in which `recording` has less than a quarter of the level that
/// `expected` has, where that is loud enough to be sure (an RMS of `audible`). Touching ones are merged.
pub fn dropouts(recording: &[f32], expected: &[f32], window: usize, audible: f64) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (index, (heard, wanted)) in
        recording.chunks_exact(window).zip(expected.chunks_exact(window)).enumerate()
    {
        let wanted = rms(wanted);
        if wanted < audible || rms(heard) >= 0.25 * wanted {
            continue;
        }
        let range = index * window..(index + 1) * window;
        match found.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => found.push(range),
        }
    }
    found
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{part, signal};

    #[test]
    fn both_parts_are_found_as_loud_as_they_were_put_in() {
        let ([guitar, _], [rhythm, _]) = (part::guitar(3.0), part::rhythm(3.0));
        let noise = signal::noise(3, 0.01, guitar.len());
        let sum: Vec<f32> =
            guitar.iter().zip(&rhythm).zip(&noise).map(|((a, b), noise)| 0.5 * a + 0.9 * b + noise).collect();
        let [a, b] = gains(&sum, [&guitar, &rhythm]).unwrap();
        assert!((a - 0.5).abs() < 0.01 && (b - 0.9).abs() < 0.01, "{a} {b}");
        assert_eq!(gains(&sum, [&guitar, &guitar]), None);
        assert_eq!(gains(&sum, [&guitar, &vec![0.0; guitar.len()]]), None);
    }

    #[test]
    fn a_hole_is_a_dropout_and_silence_in_the_music_is_none() {
        let mut expected = signal::sine(440.0, 0.3, 48_000);
        expected[20_000..24_000].fill(0.0);
        let mut heard: Vec<f32> = expected.iter().map(|sample| 0.9 * sample).collect();
        assert_eq!(dropouts(&heard, &expected, 128, 0.01), []);
        heard[10_000..10_400].fill(0.0);
        let found = dropouts(&heard, &expected, 128, 0.01);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&10_200));
    }
}
