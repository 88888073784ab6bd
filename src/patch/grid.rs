//! Patch grid of a page. Equals the reference's `smart_resize`, in double precision and the same order of operations.

use super::{PatchGrid, PatchSpec, PrepareError};
use crate::page::Size;

/// Maximum aspect ratio that the reference accepts.
const MAX_ASPECT: f64 = 200.0;

impl PatchSpec {
    /// Side of a visual token in pixels: 28 for Qwen2 and Qwen2.5.
    fn token_side(&self) -> f64 {
        f64::from(self.patch * self.merge)
    }

    /// Size that a page of `px` pixels is resized to: whole visual tokens, within the pixel budget.
    ///
    /// # Errors
    /// [`PrepareError::AspectRatio`] if the aspect ratio is above 200.
    pub fn resized(&self, px: Size) -> Result<Size, PrepareError> {
        let (width, height) = (f64::from(px.width), f64::from(px.height));
        if width.max(height) / width.min(height) > MAX_ASPECT {
            return Err(PrepareError::AspectRatio(px));
        }
        let token = self.token_side();
        let (min, max) = (self.min_pixels as f64, self.max_pixels as f64);
        // Python's `round` rounds halves to even. A thin page may become 0 here; it is enlarged below.
        let nearest = |side: f64| (side / token).round_ties_even() * token;
        let (wide, high) = (nearest(width), nearest(height));
        let (wide, high) = if wide * high > max {
            let shrink = (height * width / max).sqrt();
            let side = |side: f64| token.max((side / shrink / token).floor() * token);
            (side(width), side(height))
        } else if wide * high < min {
            let grow = (min / (height * width)).sqrt();
            let side = |side: f64| (side * grow / token).ceil() * token;
            (side(width), side(height))
        } else {
            (wide, high)
        };
        Ok(Size::new(wide as u32, high as u32))
    }

    /// Patch grid of a page of `px` pixels.
    ///
    /// # Errors
    /// [`PrepareError::AspectRatio`] if the aspect ratio is above 200.
    pub fn grid_from_px(&self, px: Size) -> Result<PatchGrid, PrepareError> {
        let size = self.resized(px)?;
        Ok(PatchGrid {
            rows: size.height / self.patch,
            columns: size.width / self.patch,
            merge: self.merge,
        })
    }

    /// Maximum number of patches of a page of any size.
    pub(super) fn max_patches(&self) -> u64 {
        let area = self.token_side() * self.token_side();
        let (min, max) = (self.min_pixels as f64 / area, self.max_pixels as f64 / area);
        // A reduced strip stays one token wide; an enlarged one is rounded up along both axes.
        let strip = (max * MAX_ASPECT).sqrt();
        let enlarged = ((min / MAX_ASPECT).sqrt() + 1.0) * ((min * MAX_ASPECT).sqrt() + 1.0);
        let strip = if strip * strip / MAX_ASPECT < MAX_ASPECT {
            strip
        } else {
            0.0
        };
        let tokens = max.max(strip).max(enlarged).floor() as u64;
        tokens * u64::from(self.merge) * u64::from(self.merge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen(max_tokens: u64) -> PatchSpec {
        PatchSpec {
            max_pixels: max_tokens * 28 * 28,
            ..PatchSpec::qwen(4 * 28 * 28, 768 * 28 * 28)
        }
    }

    fn grid(width: u32, height: u32, max_tokens: u64) -> (u32, u32, usize) {
        let grid = qwen(max_tokens)
            .grid_from_px(Size::new(width, height))
            .unwrap();
        (grid.rows, grid.columns, grid.tokens())
    }

    #[test]
    fn grids_equal_the_reference() {
        assert_eq!(grid(1240, 1754, 768), (64, 46, 736), "A4 at 150 dpi");
        assert_eq!(grid(1654, 2339, 768), (64, 46, 736), "A4 at 200 dpi");
        assert_eq!(grid(595, 842, 768), (60, 42, 630), "A4 at 72 dpi");
        assert_eq!(grid(612, 792, 768), (56, 44, 616), "Letter at 72 dpi");
        assert_eq!(grid(1920, 1080, 768), (40, 72, 720), "slide");
        assert_eq!(grid(1240, 1754, 1024), (76, 52, 988), "A4, larger budget");
        assert_eq!(
            grid(1920, 1080, 1024),
            (48, 84, 1008),
            "slide, larger budget"
        );
    }

    #[test]
    fn halves_round_to_even() {
        assert_eq!(grid(28 * 5, 42, 768).0, 4, "1.5 becomes 2");
        assert_eq!(grid(28 * 5, 70, 768).0, 4, "2.5 becomes 2 as well");
    }

    #[test]
    fn thin_pages_are_enlarged_or_rejected() {
        assert_eq!(grid(10, 1999, 768), (58, 2, 29));
        assert_eq!(grid(1, 1, 768), (4, 4, 4));
        let too_long = Size::new(1, 201);
        assert_eq!(
            qwen(768).resized(too_long),
            Err(PrepareError::AspectRatio(too_long))
        );
        assert!(qwen(768).resized(Size::new(14_400, 72)).is_ok());
    }

    #[test]
    fn no_page_has_more_than_max_patches() {
        for tokens in [4, 48, 150, 768] {
            let spec = qwen(tokens);
            for height in (1..4000).step_by(37) {
                for width in [1, 9, 14, 15, 40, 200, 1000, 3999] {
                    if let Ok(grid) = spec.grid_from_px(Size::new(width, height)) {
                        assert!(grid.patches() as u64 <= spec.max_patches(), "{grid:?}");
                    }
                }
            }
        }
        assert_eq!(qwen(768).max_patches(), 3072);
    }
}
