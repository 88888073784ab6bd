//! Runs of many machines: the program as coordinator and as workers, a real queue and a real store.

mod describe;
mod everything;
mod machines;
mod orders;
mod poison;
