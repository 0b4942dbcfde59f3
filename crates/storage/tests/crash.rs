//! A crash between any two effects of the log's writer loses nothing that was acknowledged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::{Dir, Disk, Effect};
use ostler_storage::log::dir::ReadLogError;
use ostler_storage::recover::{RecoverError, RecoverOptions};
use ostler_storage::{FillJob, LogJob, LogOptions, LogWriter, MemDisk};
use proptest::prelude::*;
use wire::Zxid;

#[derive(Debug, Clone, Copy)]
enum Step {
    Append(usize),
    TakeJob,
    /// One effect of the job, or its end.
    Job,
    TakeFill,
    /// One effect of the fill, or its end.
    Fill,
    Roll,
}

/// What the executor leaves out, to see that the test would notice.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sabotage {
    None,
    Fdatasync,
    FsyncDir,
}

#[derive(Debug, Clone)]
struct World {
    disk: MemDisk,
    writer: LogWriter,
    acknowledged: i64,
    job: Option<(LogJob, usize)>,
    fill: Option<(FillJob, usize)>,
    sizes: Vec<usize>,
}

impl World {
    fn new(disk: MemDisk, sizes: Vec<usize>) -> Self {
        let options = LogOptions { preallocate: 3000, batch_bytes: 2500, batch_txns: 5, ..LogOptions::default() };
        let last = sizes.len() as i64;
        let writer = LogWriter::new(options, Zxid(last));
        Self { disk, writer, acknowledged: last, job: None, fill: None, sizes }
    }

    fn execute(disk: &mut MemDisk, effect: &Effect, sabotage: Sabotage) {
        match (effect, sabotage) {
            (Effect::Fdatasync(_), Sabotage::Fdatasync) | (Effect::FsyncDir(_), Sabotage::FsyncDir) => {}
            _ => disk.execute(effect).unwrap(),
        }
    }

    fn step(&mut self, step: Step, sabotage: Sabotage) {
        match step {
            Step::Append(size) => {
                self.sizes.push(size);
                let zxid = Zxid(self.sizes.len() as i64);
                self.writer.append(zxid, &entry(zxid, size, zxid.0 as u8 | 1)).unwrap();
            }
            Step::TakeJob => {
                if let Some(job) = self.writer.next_job() {
                    self.job = Some((job, 0));
                }
            }
            Step::Job => match self.job.take() {
                Some((job, at)) if at == job.effects().len() => self.acknowledged = self.writer.job_done(job).0,
                Some((job, at)) => {
                    Self::execute(&mut self.disk, &job.effects()[at], sabotage);
                    self.job = Some((job, at + 1));
                }
                None => {}
            },
            Step::TakeFill => {
                if self.fill.is_none() {
                    self.fill = self.writer.next_fill().map(|fill| (fill, 0));
                }
            }
            Step::Fill => match self.fill.take() {
                Some((fill, at)) if at == fill.effects().len() => self.writer.fill_done(fill),
                Some((fill, at)) => {
                    Self::execute(&mut self.disk, &fill.effects()[at], sabotage);
                    self.fill = Some((fill, at + 1));
                }
                None => {}
            },
            Step::Roll => self.writer.roll(),
        }
    }

    fn run(&mut self) {
        while !self.writer.is_busy() && self.writer.pending_txns() > 0 || self.job.is_some() {
            self.step(Step::TakeJob, Sabotage::None);
            while self.job.is_some() {
                self.step(Step::Job, Sabotage::None);
            }
        }
    }

    /// Crashes (a copy), recovers, and says whether everything acknowledged is there, and nothing else.
    fn survives(&self, luck: u32, sabotage: Sabotage) -> Result<Self, String> {
        let mut disk = self.disk.clone();
        let mut state = luck;
        disk.crash_torn(&mut || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            luck > 0 && (state >> 29) >= luck % 8
        });
        let options = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
        let recovered = recovered(&mut disk, &options);
        if let Err(RecoverError::Log { error: ReadLogError::Damaged { offset, after, .. }, .. }) = &recovered
            && (5..8).contains(&(512 - offset % 512))
            && after.0 >= self.acknowledged
        {
            // A part of a checksum is missing, with a whole record of its batch behind it: taken for damage, as it may be.
            return Ok(Self::new(MemDisk::new(false), Vec::new()));
        }
        let (found, memory) = recovered.map_err(|error| match error {
            RecoverError::Log { .. } | RecoverError::SuspectTail { .. } => error.to_string(),
            other => panic!("{other}"),
        })?;
        if found.is_suspect {
            return Err("a crash was taken for damage".to_owned());
        }
        let n = memory.txns.len();
        let expected = (1..).map(Zxid).zip(&self.sizes).take(n);
        let is_prefix = memory.txns.iter().zip(expected).all(|((zxid, bytes), (expected, size))| {
            *zxid == expected && bytes == &entry(*zxid, *size, zxid.0 as u8 | 1)
        });
        if !is_prefix || n > self.sizes.len() {
            return Err(format!("not a prefix: {:?} of {:?}", memory.zxids(), self.sizes));
        }
        if (n as i64) < self.acknowledged {
            return Err(format!("{n} txns are left of {} acknowledged ones", self.acknowledged));
        }
        assert!(sabotage != Sabotage::None || disk.names(Dir::Log).iter().all(|name| name.starts_with("log.")));
        Ok(Self::new(disk, self.sizes[..n].to_vec()))
    }
}

/// Runs the steps, crashing in every way before each; the first loss.
fn explore(world: &mut World, steps: &[Step], sabotage: Sabotage, lives: usize) -> Result<(), String> {
    for (i, step) in steps.iter().enumerate() {
        world.step(*step, sabotage);
        for luck in 0..6 {
            let mut next = world.survives(luck, sabotage).map_err(|e| format!("after step {i}, {step:?}: {e}"))?;
            if lives > 1 && luck < 2 {
                for size in [30, 900] {
                    next.step(Step::Append(size), Sabotage::None);
                }
                next.run();
                next.survives(0, sabotage).map_err(|e| format!("in the next life: {e}"))?;
                explore(&mut next, &steps[..steps.len().min(8)], sabotage, lives - 1)?;
            }
        }
    }
    Ok(())
}

/// Several batches while one is on its way, a roll, fills at the same time, an exhausted file.
fn scenario() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![TakeFill, Append(40), TakeJob, Fill, Fill, Append(700), Job, Job, Job, Append(20), Job, Job];
    steps.extend([Job, Job, TakeJob, Fill, Fill, Fill, Fill, Job, Job, Job, TakeFill, Append(900), TakeJob, Job, Job]);
    steps.extend([Job, Job, Job, Fill, Fill, Fill, Append(1000), Append(1300), Roll, TakeJob, Job, Job, Job, Job]);
    steps.extend([TakeFill, Fill, Fill, Append(5), TakeJob, Fill, Fill, Fill, Job, Job, Job, Job, Job, Append(600)]);
    steps.extend([TakeJob, Job, TakeFill, Fill, Fill, Job, Job, Job, Job, Job]);
    steps
}

#[test]
fn nothing_acknowledged_is_lost() {
    explore(&mut World::new(MemDisk::new(false), Vec::new()), &scenario(), Sabotage::None, 2).unwrap();
}

#[test]
fn the_test_can_fail() {
    for sabotage in [Sabotage::Fdatasync, Sabotage::FsyncDir] {
        let mut world = World::new(MemDisk::new(false), Vec::new());
        let found = explore(&mut world, &scenario(), sabotage, 1);
        assert!(found.is_err_and(|loss| loss.contains("acknowledged")), "{sabotage:?}");
    }
}

#[test]
fn without_force_sync_what_is_left_is_a_prefix() {
    let mut world = World::new(MemDisk::new(false), Vec::new());
    let options = LogOptions { preallocate: 3000, force_sync: false, ..LogOptions::default() };
    world.writer = LogWriter::new(options, Zxid(0));
    for step in scenario() {
        world.step(step, Sabotage::None);
        let Some((job, _)) = &world.job else { continue };
        assert!(!job.effects().iter().any(|e| matches!(e, Effect::Fdatasync(_) | Effect::FsyncDir(_))));
    }
    world.acknowledged = 0;
    assert_eq!(world.survives(0, Sabotage::None).unwrap().sizes.len(), 0);
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // A sector that is lost from inside a record, with a whole record of its batch behind it, is taken for damage: no
        // record is both longer than a sector and in company.
        3 => prop_oneof![5 => 0usize..400, 1 => 2500usize..4000].prop_map(Step::Append),
        3 => Just(Step::TakeJob),
        8 => Just(Step::Job),
        1 => Just(Step::TakeFill),
        4 => Just(Step::Fill),
        1 => Just(Step::Roll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_acknowledged_is_lost_in_any_order(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = World::new(MemDisk::new(false), Vec::new());
        prop_assert_eq!(explore(&mut world, &steps, Sabotage::None, 1), Ok(()));
        world.run();
        prop_assert_eq!(world.acknowledged, world.sizes.len() as i64);
        prop_assert_eq!(world.survives(0, Sabotage::None).map(|next| next.sizes), Ok(world.sizes.clone()));
    }
}
