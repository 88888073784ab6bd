//! Pages that lie on their side: how they are noticed and turned.

use super::GrayPage;
use crate::page::Size;

/// Width of the strips whose darkness is compared: of a line that rises by two degrees the ends of a strip are less than half
/// the height of small letters apart.
const STRIP: usize = 96;
/// Pixels from the middle of a line of body text to the gap below it, about.
const LAG: usize = 5;

impl GrayPage {
    /// Whether its lines of text run from top to bottom or from bottom to top.
    ///
    /// Of 106 upright pages of the sample manuals, half of them as imitated scans, the contrast across is at most half of that
    /// between lines; most have a sixth.
    pub fn is_on_its_side(&self) -> bool {
        self.turned(1).line_contrast() > self.line_contrast()
    }

    /// How much darker lines of text are than their gaps: mean square of the difference between the sums of [`STRIP`] pixels
    /// beside each other and those [`LAG`] pixels below.
    fn line_contrast(&self) -> f64 {
        let width = self.size.width as usize;
        let strips = |line: &[u8]| -> Vec<i64> {
            let strips = line.chunks_exact(STRIP);
            strips
                .map(|s| s.iter().map(|&v| i64::from(v)).sum())
                .collect()
        };
        let lines: Vec<Vec<i64>> = self.pixels.chunks_exact(width).map(strips).collect();
        let pairs = lines.iter().zip(lines.iter().skip(LAG));
        let differences = pairs.flat_map(|(above, below)| above.iter().zip(below));
        let (count, sum) = differences.fold((0_u32, 0.0), |(count, sum), (a, b)| {
            (count + 1, sum + ((a - b) as f64).powi(2))
        });
        sum / f64::from(count.max(1))
    }

    /// The page turned clockwise by quarter turns.
    #[must_use]
    pub fn turned(&self, quarters: u8) -> Self {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        if quarters % 4 == 2 {
            let pixels = self.pixels.iter().rev().copied().collect();
            return Self { pixels, ..*self };
        }
        let column = |x: usize| self.pixels[x..].iter().step_by(width).copied();
        let pixels = match quarters % 4 {
            0 => return self.clone(),
            1 => (0..width).flat_map(|x| column(x).rev()).collect(),
            _ => (0..width).rev().flat_map(column).collect(),
        };
        let size = Size::new(height as u32, width as u32);
        Self { size, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: u32, pixels: &[u8]) -> GrayPage {
        let size = Size::new(width, pixels.len() as u32 / width);
        let pixels = pixels.to_vec();
        GrayPage { size, pixels }
    }

    #[test]
    fn turns_are_clockwise() {
        let upright = page(3, &[1, 2, 3, 4, 5, 6]);
        for (quarters, width, pixels) in [
            (0, 3, [1, 2, 3, 4, 5, 6]),
            (1, 2, [4, 1, 5, 2, 6, 3]),
            (2, 3, [6, 5, 4, 3, 2, 1]),
            (3, 2, [3, 6, 2, 5, 1, 4]),
            (4, 3, [1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(upright.turned(quarters), page(width, &pixels), "{quarters}");
        }
    }

    #[test]
    fn lines_from_top_to_bottom_are_noticed() {
        let size = Size::new(300, 400);
        // Lines of words: 8 of 16 pixels are letters, one pixel in three is dark.
        let is_dark = |x: usize, y: usize| y % 16 < 8 && (x * 7 + y / 16 * 5).is_multiple_of(3);
        let pixel = |i: usize| if is_dark(i % 300, i / 300) { 40 } else { 250 };
        let pixels = (0..300 * 400).map(pixel).collect();
        let upright = GrayPage { size, pixels };
        for (quarters, is_on_its_side) in [(0, false), (1, true), (2, false), (3, true)] {
            let turned = upright.turned(quarters);
            assert_eq!(turned.is_on_its_side(), is_on_its_side, "{quarters}");
        }
        for width in [1, 7] {
            assert!(!page(width, &[250; 7]).is_on_its_side());
        }
    }
}
