//! What only this store has: versions, locks, full disks, foreign files.
