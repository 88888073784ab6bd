//! The patch map of a page: which cell of a grid over the page each of its vectors belongs to.

use super::ShapeError;

/// The cell of each row of a multi-vector (or none), in a grid over the whole page. Every cell lies in the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchMap {
    columns: u16,
    rows: u16,
    cells: Vec<u16>,
}

impl PatchMap {
    /// The cell of a row that belongs to no part of the page, such as that of a prompt token.
    pub const NOWHERE: u16 = u16::MAX;

    /// Checks and keeps the cells of `len` vectors, each `y * columns + x` or [`PatchMap::NOWHERE`].
    ///
    /// # Errors
    /// When the grid is empty, the cells are not `len`, or one lies outside the grid.
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
        let is_outside = |&cell: &u16| cell != Self::NOWHERE && u32::from(cell) >= size;
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

    /// Checks and keeps cells as [`PatchMap::to_bytes`] writes them.
    ///
    /// # Errors
    /// As [`PatchMap::new`], and when the last cell is cut.
    pub fn from_bytes(
        columns: u16,
        rows: u16,
        bytes: &[u8],
        len: usize,
    ) -> Result<Self, ShapeError> {
        let (cells, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(ShapeError::CutCell { bytes: bytes.len() });
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

    /// The cell of each row of the multi-vector, `y * columns + x`; [`PatchMap::NOWHERE`] for prompt tokens.
    pub fn cells(&self) -> &[u16] {
        &self.cells
    }

    /// The map of rows that each stand for several rows of this one: the first of their cells that is on the page.
    ///
    /// # Panics
    /// When a member is no row of this map.
    #[must_use]
    pub fn merged(&self, members: &[Vec<usize>]) -> Self {
        let first = |rows: &Vec<usize>| {
            let mut cells = rows.iter().map(|&row| self.cells[row]);
            cells.find(|&cell| cell != Self::NOWHERE)
        };
        let cells = members
            .iter()
            .map(|rows| first(rows).unwrap_or(Self::NOWHERE));
        Self {
            cells: cells.collect(),
            ..*self
        }
    }

    /// The same map with one more row, which has no cell.
    #[must_use]
    pub fn extended(&self) -> Self {
        Self {
            cells: [self.cells(), &[Self::NOWHERE]].concat(),
            ..*self
        }
    }

    /// The cells as stores keep them: little-endian, one after another.
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
    fn only_cells_of_the_grid_make_a_patch_map() {
        let nowhere = PatchMap::NOWHERE;
        let map = PatchMap::new(3, 2, vec![5, nowhere, 0], 3).unwrap();
        assert_eq!(
            PatchMap::from_bytes(3, 2, &map.to_bytes(), 3),
            Ok(map.clone())
        );
        assert_eq!(map.extended().cells(), [5, nowhere, 0, nowhere]);
        assert_eq!(
            map.merged(&[vec![1], vec![1, 2], vec![0, 2]]).cells(),
            [nowhere, 0, 5]
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
            PatchMap::new(3, 0, vec![nowhere], 1),
            Err(ShapeError::NoCells { .. })
        ));
        assert!(matches!(
            PatchMap::from_bytes(3, 2, &[0, 0, 1], 1),
            Err(ShapeError::CutCell { .. })
        ));
    }
}
