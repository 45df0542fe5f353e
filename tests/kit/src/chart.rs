//! Curves over time as a picture, without words: what is drawn is said where the picture is shown.

use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

/// Width of a picture, and height of each panel, in pixels.
const WIDTH: usize = 960;
const PANEL: usize = 200;
const PAPER: [u8; 3] = [250, 250, 250];
const GRID: [u8; 3] = [222, 222, 222];
const ZERO: [u8; 3] = [150, 150, 150];
/// One colour per curve of a panel, in turn.
const INKS: [[u8; 3]; 6] =
    [[31, 119, 180], [214, 39, 40], [44, 160, 44], [255, 127, 14], [148, 103, 189], [23, 160, 170]];

/// One set of axes.
pub struct Panel {
    /// Lowest and highest value shown.
    pub range: [f64; 2],
    /// Distance of the horizontal lines.
    pub grid: f64,
    /// Curves: values at equal distances in time, from the left edge to the right.
    pub curves: Vec<Vec<f64>>,
}

/// Writes panels below each other to a PNG file, with `columns` vertical lines' distances across.
pub fn save(panels: &[Panel], columns: usize, path: &Path) -> Result<()> {
    let height = PANEL * panels.len();
    let mut rgb: Vec<u8> = PAPER.iter().copied().cycle().take(3 * WIDTH * height).collect();
    for (index, panel) in panels.iter().enumerate() {
        panel.draw(&mut rgb, index * PANEL, columns);
    }
    let write = || -> Result<()> {
        let mut encoder =
            png::Encoder::new(BufWriter::new(std::fs::File::create(path)?), WIDTH as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        Ok(encoder.write_header()?.write_image_data(&rgb)?)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

impl Panel {
    fn draw(&self, rgb: &mut [u8], top: usize, columns: usize) {
        let mut dot = |x: usize, y: usize, ink: [u8; 3]| {
            let at = 3 * ((top + y) * WIDTH + x.min(WIDTH - 1));
            rgb[at..at + 3].copy_from_slice(&ink);
        };
        for column in 0..=columns {
            (0..PANEL).for_each(|y| dot(column * (WIDTH - 1) / columns.max(1), y, GRID));
        }
        let mut line = (self.range[0] / self.grid).ceil() * self.grid;
        while line <= self.range[1] {
            let ink = if line.abs() < 1e-9 { ZERO } else { GRID };
            (0..WIDTH).for_each(|x| dot(x, self.y(line), ink));
            line += self.grid;
        }
        for (curve, ink) in self.curves.iter().zip(INKS.iter().cycle()) {
            let mut last = None;
            for (index, value) in curve.iter().enumerate() {
                let x = index * (WIDTH - 1) / (curve.len() - 1).max(1);
                let y = self.y(*value);
                let from = last.replace(y).unwrap_or(y);
                (from.min(y)..=from.max(y)).for_each(|y| dot(x, y, *ink));
            }
        }
    }

    fn y(&self, value: f64) -> usize {
        let share = (value - self.range[0]) / (self.range[1] - self.range[0]);
        ((1.0 - share).clamp(0.0, 1.0) * (PANEL - 5) as f64) as usize + 2
    }
}
