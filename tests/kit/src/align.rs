//! Finding known sounds in a recording: how late, how loud, and what else is there.

/// Where a sound was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// By how many samples the recording is later than the reference.
    pub delay: i64,
    /// How alike they are there: 1 = equal up to loudness, 0 = unrelated.
    pub likeness: f64,
}

/// Finds the stretch `reference[start..start + length]` in `recording`, shifted by any of `delays`.
pub fn find(
    reference: &[f32],
    recording: &[f32],
    start: usize,
    length: usize,
    delays: std::ops::Range<i64>,
) -> Option<Match> {
    let pattern = reference.get(start..start + length)?;
    let energy = dot(pattern, pattern);
    delays
        .filter_map(|delay| {
            let first = usize::try_from(start as i64 + delay).ok()?;
            let stretch = recording.get(first..first + length)?;
            let scale = (energy * dot(stretch, stretch)).sqrt();
            let likeness = if scale > 0.0 { dot(pattern, stretch) / scale } else { 0.0 };
            Some(Match { delay, likeness })
        })
        .max_by(|a, b| a.likeness.total_cmp(&b.likeness))
}

/// How loud each of two parts is in a recording of their sum (linear), by least squares. All three
/// are of the same length and aligned.
pub fn gains(recording: &[f32], parts: [&[f32]; 2]) -> [f64; 2] {
    let [a, b] = parts;
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    let (ra, rb) = (dot(recording, a), dot(recording, b));
    let determinant = aa * bb - ab * ab;
    if determinant <= 0.0 {
        return [f64::NAN; 2];
    }
    [(ra * bb - rb * ab) / determinant, (rb * aa - ra * ab) / determinant]
}

/// Loudness of a sound, linear.
pub fn rms(sound: &[f32]) -> f64 {
    (dot(sound, sound) / sound.len().max(1) as f64).sqrt()
}

/// A linear gain in decibels.
pub fn db(gain: f64) -> f64 {
    20.0 * gain.log10()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    // Partial sums in f32 are vectorised, and short enough to stay exact to 1e-6.
    let chunks = a.chunks(256).zip(b.chunks(256));
    chunks.map(|(a, b)| f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part;

    #[test]
    fn parts_are_found_where_and_as_loud_as_they_were_put() {
        let (guitar, rhythm) = (part::guitar(4.0), part::rhythm(4.0));
        let mut recording = vec![0.0_f32; 4 * 48_000];
        for index in 2_000..recording.len() {
            recording[index] = 0.5 * guitar[0][index - 777] + 0.9 * rhythm[0][index - 1_234];
        }
        let found = find(&guitar[0], &recording, 48_000, 48_000, 0..3_000).unwrap();
        assert_eq!(found.delay, 777);
        let found = find(&rhythm[0], &recording, 48_000, 48_000, -100..3_000).unwrap();
        assert_eq!(found.delay, 1_234);
        let range = 48_000..96_000;
        let parts = [
            &guitar[0][range.start - 777..range.end - 777],
            &rhythm[0][range.start - 1_234..range.end - 1_234],
        ];
        let [guitar_gain, rhythm_gain] = gains(&recording[range], parts);
        assert!(
            (guitar_gain - 0.5).abs() < 1e-3 && (rhythm_gain - 0.9).abs() < 1e-3,
            "{guitar_gain} {rhythm_gain}"
        );
    }

    #[test]
    fn unrelated_sounds_are_not_alike() {
        let (guitar, rhythm) = (part::guitar(3.0), part::rhythm(3.0));
        assert!(find(&guitar[0], &rhythm[0], 48_000, 48_000, 0..2_000).unwrap().likeness < 0.3);
    }
}
