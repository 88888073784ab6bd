//! Simulates a run of many machines: the scheduling of `ingest::distributed::schedule` against workers of given speeds, which
//! fetch files, die and come back. Prints a Markdown table and draws makespan / ideal against the number of workers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::path::Path;

use ingest::distributed::schedule::{self, Upcoming};

use super::Result;
use super::plot::{self, Curve};

/// Pages of the libraries.
const PAGES: [usize; 2] = [10_000, 1_000_000];
/// Bytes of a page in its file.
const BYTES_PER_PAGE: u64 = 150_000;
/// Bytes per second of the network to each worker: one gigabit.
const LINK: f64 = 117e6;
/// Seconds that the queue takes for an item: the slowest setting measured, three servers that sync each write.
const OVERHEAD: f64 = 0.0025;
/// Seconds until a worker that starts has loaded its model.
const LOADING: f64 = 20.0;
/// Seconds until the items of a worker that died go to others.
const LEASE: f64 = 60.0;
/// Seconds until a worker that died is started again.
const RESTART: f64 = 30.0;
/// Seconds between two pulls of a worker that got nothing.
const EXPIRES: f64 = 2.0;
/// Messages of an item: published, delivered, begun, result, acknowledgement and confirmation, each with its answer.
const MESSAGES_PER_ITEM: u64 = 11;

/// Speeds of the workers in pages per second, and how often they die.
struct Crew {
    name: &'static str,
    speeds: fn(usize) -> Vec<f64>,
    /// Mean seconds between two deaths of a worker.
    deaths: Option<f64>,
}

const CREWS: [Crew; 3] = [
    Crew {
        name: "equal, 1.6 pages/s",
        speeds: |count| vec![1.6; count],
        deaths: None,
    },
    Crew {
        name: "1 to 10 times as fast",
        speeds: |count| {
            (0..count)
                .map(|n| 0.5 * 10f64.powf(n as f64 / (count.max(2) - 1) as f64))
                .collect()
        },
        deaths: None,
    },
    Crew {
        name: "the same, one death in 4 h",
        speeds: |count| {
            (0..count)
                .map(|n| 0.5 * 10f64.powf(n as f64 / (count.max(2) - 1) as f64))
                .collect()
        },
        deaths: Some(4.0 * 3_600.0),
    },
];

/// An item that is queued or in hand.
#[derive(Clone, Copy)]
struct Item {
    file: usize,
    bytes: u64,
    pages: usize,
}

/// A simulated worker.
struct SimulatedWorker {
    speed: f64,
    /// Items that must wait so that it takes one.
    min_pending: usize,
    /// Speeds of the others.
    others: Vec<f64>,
    held: VecDeque<Item>,
    /// The item that it processes, since when.
    current: Option<(Item, f64)>,
    files: HashSet<usize>,
    /// When it dies next.
    dies: f64,
}

/// Figures of a simulated run.
#[derive(Default)]
struct Simulated {
    makespan: f64,
    messages: u64,
    bytes: u64,
    /// Pages that were processed more than once.
    twice: usize,
}

pub(super) fn run(file: &Path) -> Result<()> {
    println!(
        "| pages | workers | speeds | pages/s | makespan, h | / ideal | messages, M | files sent, GB | pages twice, % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for pages in PAGES {
        curves.clear();
        for crew in &CREWS {
            let curve =
                [1, 2, 4, 8, 16, 32, 64].map(|count| (count as f64, row(pages, crew, count)));
            curves.push((crew.name, curve.to_vec()));
        }
    }
    // Those of the last, the largest library.
    plot::draw_makespan(file, &curves)
}

/// Simulates a run, prints its row, and returns makespan / ideal.
fn row(pages: usize, crew: &Crew, count: usize) -> f64 {
    let speeds = (crew.speeds)(count);
    let ideal = LOADING + pages as f64 / speeds.iter().sum::<f64>();
    let run = simulate(pages, &speeds, crew.deaths);
    let ratio = run.makespan / ideal;
    println!(
        "| {pages} | {count} | {} | {:.1} | {:.2} | {ratio:.3} | {:.3} | {:.1} | {:.2} |",
        crew.name,
        pages as f64 / run.makespan,
        run.makespan / 3_600.0,
        run.messages as f64 / 1e6,
        run.bytes as f64 / 1e9,
        100.0 * run.twice as f64 / pages as f64,
    );
    ratio
}

/// Numbers of pages of the manuals: 4 to 400, the same in each run.
fn manuals(pages: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut sizes = Vec::new();
    let mut left = pages;
    while left > 0 {
        let size = random.usize(4..=400).min(left);
        left -= size;
        sizes.push(size);
    }
    sizes
}

/// The items of all manuals, as a coordinator queues them that knows the speeds.
fn items(pages: usize, speed: f64) -> VecDeque<Item> {
    let mut items = VecDeque::new();
    let mut add = |(file, pages): (usize, usize), small| {
        let bytes = pages as u64 * BYTES_PER_PAGE;
        let numbers: Vec<u32> = (1..=pages as u32).collect();
        for cut in schedule::cut(&numbers, schedule::item_pages(bytes, pages), small) {
            let pages = cut.within(pages as u32).len();
            items.push_back(Item { file, bytes, pages });
        }
    };
    let mut upcoming = Upcoming::default();
    for (file, pages) in manuals(pages).into_iter().enumerate() {
        upcoming.push((file, pages), pages);
        while let Some(manual) = upcoming.next(speed) {
            add(manual, 0);
        }
    }
    for (manual, small) in upcoming.rest(speed) {
        add(manual, small);
    }
    items
}

/// A moment at which a worker, or the queue (`None`), has something to do, in microseconds.
type Moment = Reverse<(u64, Option<usize>)>;

fn at(seconds: f64, worker: Option<usize>) -> Moment {
    // Rounded up: nothing ends before its time.
    Reverse(((seconds * 1e6).ceil() as u64, worker))
}

fn simulate(pages: usize, speeds: &[f64], deaths: Option<f64>) -> Simulated {
    let mut simulation = Simulation::new(pages, speeds, deaths);
    while simulation.done < pages
        && let Some(Reverse((micros, of))) = simulation.moments.pop()
    {
        let now = micros as f64 / 1e6;
        match of {
            None => simulation.deliver_again(),
            Some(index) if now >= simulation.workers[index].dies => simulation.die(now, index),
            Some(index) => simulation.work(now, index),
        }
    }
    simulation.run
}

/// The state of a run.
struct Simulation {
    random: fastrand::Rng,
    /// Mean seconds between two deaths of a worker.
    deaths: Option<f64>,
    queue: VecDeque<Item>,
    workers: Vec<SimulatedWorker>,
    moments: BinaryHeap<Moment>,
    /// Items of workers that died, in the order in which they are delivered again.
    lost: VecDeque<Vec<Item>>,
    done: usize,
    run: Simulated,
}

impl Simulation {
    fn new(pages: usize, speeds: &[f64], deaths: Option<f64>) -> Self {
        let mut simulation = Self {
            random: fastrand::Rng::with_seed(11),
            deaths,
            queue: items(pages, speeds.iter().sum()),
            workers: Vec::new(),
            moments: BinaryHeap::new(),
            lost: VecDeque::new(),
            done: 0,
            run: Simulated::default(),
        };
        for (index, &speed) in speeds.iter().enumerate() {
            let dies = simulation.next_death(LOADING);
            let mut others = speeds.to_vec();
            others.remove(index);
            simulation.workers.push(SimulatedWorker {
                speed,
                min_pending: schedule::min_pending(speed, &others) as usize,
                others,
                held: VecDeque::new(),
                current: None,
                files: HashSet::new(),
                dies,
            });
            simulation.moments.push(at(LOADING, Some(index)));
        }
        simulation
    }

    /// When a worker that starts now dies.
    fn next_death(&mut self, now: f64) -> f64 {
        let random = self.random.f64();
        self.deaths
            .map_or(f64::INFINITY, |mean| now - mean * (1.0 - random).ln())
    }

    /// Items of a worker that died come first.
    fn deliver_again(&mut self) {
        let items = self.lost.pop_front().unwrap_or_default();
        for item in items.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    /// A worker dies. All of the item that it had begun is processed again, page by page: more than a real run does, which
    /// finds the stored pages.
    fn die(&mut self, now: f64, index: usize) {
        let starts = now + RESTART + LOADING;
        let dies = self.next_death(starts);
        let worker = &mut self.workers[index];
        worker.dies = dies;
        let mut items = Vec::new();
        if let Some((item, since)) = worker.current.take() {
            self.run.twice += (((now - since) * worker.speed) as usize).min(item.pages);
            self.run.messages += 2 * item.pages as u64;
            items.extend((0..item.pages).map(|_| Item { pages: 1, ..item }));
        }
        items.extend(worker.held.drain(..));
        self.lost.push_back(items);
        self.moments.push(at(now + LEASE, None));
        self.moments.push(at(starts, Some(index)));
    }

    /// A worker ends an item, pulls, and begins the next one.
    fn work(&mut self, now: f64, index: usize) {
        let worker = &mut self.workers[index];
        if let Some((item, _)) = worker.current.take() {
            self.done += item.pages;
            self.run.makespan = now;
            self.run.messages += MESSAGES_PER_ITEM;
        }
        let queued = self.queue.len() as u64;
        let room = schedule::held_items(worker.speed, &worker.others, queued);
        let room = room.saturating_sub(worker.held.len());
        if self.queue.len() >= worker.min_pending.max(1) {
            worker
                .held
                .extend(self.queue.drain(..room.min(self.queue.len())));
        }
        let ends = match worker.held.pop_front() {
            None => now + EXPIRES,
            Some(item) => {
                // The file of the next item is fetched while this one is processed; a slow fetch is waited for.
                let is_new = worker.files.insert(item.file);
                let bytes = if is_new { item.bytes } else { 0 };
                self.run.bytes += bytes;
                worker.current = Some((item, now));
                now + OVERHEAD + (item.pages as f64 / worker.speed).max(bytes as f64 / LINK)
            }
        };
        self.moments
            .push(at(ends.min(worker.dies.max(now)), Some(index)));
    }
}
