//! Patch map: the grid cell of each vector of a page.

use super::ShapeError;

/// The cell of each row of a multi-vector, or [`PatchMap::NO_CELL`], in a grid over the whole page. All cells are
/// inside the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchMap {
    columns: u16,
    rows: u16,
    cells: Vec<u16>,
}

impl PatchMap {
    /// Marks a row without a cell, such as that of a prompt token.
    pub const NO_CELL: u16 = u16::MAX;

    /// Creates the patch map of `len` vectors; each cell is `y * columns + x` or [`PatchMap::NO_CELL`].
    ///
    /// # Errors
    /// [`ShapeError::NoCells`], [`ShapeError::CellCount`] or [`ShapeError::OutsideGrid`].
    pub fn new(columns: u16, rows: u16, cells: Vec<u16>, len: usize) -> Result<Self, ShapeError> {
        let size = u32::from(columns) * u32::from(rows);
        if size == 0 {
            return Err(ShapeError::NoCells { columns, rows });
        }
        if cells.len() != len {
            return Err(ShapeError::CellCount {
                vectors: len,
                cells: cells.len(),
            });
        }
        let is_outside = |&cell: &u16| cell != Self::NO_CELL && u32::from(cell) >= size;
        match cells.iter().position(is_outside) {
            Some(row) => Err(ShapeError::OutsideGrid {
                row,
                cell: cells[row],
                columns,
                rows,
            }),
            None => Ok(Self {
                columns,
                rows,
                cells,
            }),
        }
    }

    /// Creates a patch map from cells in the format of [`PatchMap::to_bytes`].
    ///
    /// # Errors
    /// As [`PatchMap::new`], and [`ShapeError::PartialCell`].
    pub fn from_bytes(
        columns: u16,
        rows: u16,
        bytes: &[u8],
        len: usize,
    ) -> Result<Self, ShapeError> {
        let (cells, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(ShapeError::PartialCell { bytes: bytes.len() });
        }
        let cells = cells.iter().map(|&cell| u16::from_le_bytes(cell)).collect();
        Self::new(columns, rows, cells, len)
    }

    /// Cells from left to right; never 0.
    pub fn columns(&self) -> u16 {
        self.columns
    }

    /// Cells from top to bottom; never 0.
    pub fn rows(&self) -> u16 {
        self.rows
    }

    /// The cell of each row of the multi-vector, `y * columns + x`; [`PatchMap::NO_CELL`] for prompt tokens.
    pub fn cells(&self) -> &[u16] {
        &self.cells
    }

    /// The patch map of clusters of rows: each cluster gets the first cell among its members.
    ///
    /// # Panics
    /// If a member is not a row of this map.
    #[must_use]
    pub fn merged(&self, members: &[Vec<usize>]) -> Self {
        let first = |rows: &Vec<usize>| {
            let mut cells = rows.iter().map(|&row| self.cells[row]);
            cells.find(|&cell| cell != Self::NO_CELL)
        };
        let cells = members
            .iter()
            .map(|rows| first(rows).unwrap_or(Self::NO_CELL));
        Self {
            cells: cells.collect(),
            ..*self
        }
    }

    /// The same map with one more row, without a cell.
    #[must_use]
    pub fn extended(&self) -> Self {
        Self {
            cells: [self.cells(), &[Self::NO_CELL]].concat(),
            ..*self
        }
    }

    /// The map of the same rows on the page turned clockwise by quarter turns.
    #[must_use]
    pub fn turned(&self, quarters: u8) -> Self {
        let Self { columns, rows, .. } = *self;
        if quarters.is_multiple_of(4) {
            return self.clone();
        }
        let turned = |&cell: &u16| match cell {
            Self::NO_CELL => Self::NO_CELL,
            _ => (cell % columns) * rows + (rows - 1 - cell / columns),
        };
        let once = Self {
            columns: rows,
            rows: columns,
            cells: self.cells.iter().map(turned).collect(),
        };
        once.turned(quarters - 1)
    }

    /// The cells in storage format: little-endian u16, concatenated.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.cells
            .iter()
            .flat_map(|cell| cell.to_le_bytes())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_turn_with_the_page() {
        let no_cell = PatchMap::NO_CELL;
        let map = PatchMap::new(3, 2, vec![0, 2, no_cell, 4], 4).unwrap();
        for (quarters, columns, cells) in [
            (0, 3, [0, 2, no_cell, 4]),
            (1, 2, [1, 5, no_cell, 2]),
            (2, 3, [5, 3, no_cell, 1]),
            (3, 2, [4, 0, no_cell, 3]),
        ] {
            let turned = map.turned(quarters);
            assert_eq!(turned.columns(), columns, "{quarters}");
            assert_eq!(turned.cells(), cells, "{quarters}");
            assert_eq!(turned.turned(4 - quarters), map);
        }
    }

    #[test]
    fn new_accepts_only_cells_of_the_grid() {
        let no_cell = PatchMap::NO_CELL;
        let map = PatchMap::new(3, 2, vec![5, no_cell, 0], 3).unwrap();
        assert_eq!(
            PatchMap::from_bytes(3, 2, &map.to_bytes(), 3),
            Ok(map.clone())
        );
        assert_eq!(map.extended().cells(), [5, no_cell, 0, no_cell]);
        assert_eq!(
            map.merged(&[vec![1], vec![1, 2], vec![0, 2]]).cells(),
            [no_cell, 0, 5]
        );
        assert!(matches!(
            PatchMap::new(3, 2, vec![0, 6], 2),
            Err(ShapeError::OutsideGrid {
                row: 1,
                cell: 6,
                ..
            })
        ));
        assert!(matches!(
            PatchMap::new(3, 2, vec![0], 2),
            Err(ShapeError::CellCount { .. })
        ));
        assert!(matches!(
            PatchMap::new(3, 0, vec![no_cell], 1),
            Err(ShapeError::NoCells { .. })
        ));
        assert!(matches!(
            PatchMap::from_bytes(3, 2, &[0, 0, 1], 1),
            Err(ShapeError::PartialCell { .. })
        ));
    }
}
