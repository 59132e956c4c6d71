//! The disk under the data folder: one that can be filled, and one whose power can be cut.
//!
//! As root, where loop devices and mounting are to be had, it is an ext4 of its own in a file. Cutting its power is
//! `EXT4_IOC_SHUTDOWN` without a flush of the journal: from then on nothing is written any more, and after mounting it
//! again there is what had been flushed, as after the loss of power. Otherwise a tmpfs that can at least be full;
//! otherwise a plain folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The loop file is sparse: it takes what is written.
const LOOP_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// A tmpfs takes memory, and filling it takes all of this.
const TMPFS_BYTES: u64 = 512 * 1024 * 1024;
/// A file system is busy until the process that was killed is quite gone, and so is whatever else holds it.
const UMOUNT_LIMIT: Duration = Duration::from_secs(60);
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// What filling tries to take, piece by piece, after all that the file system says is free.
const PIECES: [u64; 4] = [1 << 20, 1 << 16, 1 << 12, 1 << 12];
/// A shut down of an ext4 as its power goes: the request `EXT4_IOC_SHUTDOWN` (`_IOR('X', 125, __u32)`) with
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`. Perl, which every Debian has, since std has no ioctl and `unsafe` is out of the
/// question.
const CUT: &str = "my $flags = pack('L', 2); open(my $folder, '<', $ARGV[0]) or die \"open: $!\"; \
                   ioctl($folder, 0x8004587d, $flags) or die \"ioctl: $!\";";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Tmpfs,
    Loop,
}

pub(crate) struct Disk {
    kind: Kind,
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
    /// What is not possible here, and why.
    pub(crate) skipped: Vec<String>,
}

impl Disk {
    /// The best that is possible here. So many bytes are to be put there at first.
    pub(crate) fn prepare(folder: &Path, bytes: u64) -> Result<Disk, String> {
        let mut disk = Disk {
            kind: Kind::Plain,
            image: folder.join("disk.img"),
            mount: folder.join("disk"),
            is_mounted: false,
            skipped: Vec::new(),
        };
        fs::create_dir_all(&disk.mount).map_err(|error| format!("{}: {error}", disk.mount.display()))?;
        match disk.try_loop() {
            Ok(()) => return Ok(disk),
            Err(why) => disk.skipped.push(format!("power cuts are skipped: {why}")),
        }
        let mount = [
            "-t",
            "tmpfs",
            "-o",
            &format!("size={}", TMPFS_BYTES + bytes),
            "jackdaw-torture",
        ];
        match run(Command::new("mount").args(mount).arg(&disk.mount)) {
            Ok(_) => {
                disk.kind = Kind::Tmpfs;
                disk.is_mounted = true;
            }
            Err(why) => disk.skipped.push(format!("full disks are skipped: {why}")),
        }
        Ok(disk)
    }

    fn try_loop(&mut self) -> Result<(), String> {
        let made = fs::File::create(&self.image).and_then(|file| file.set_len(LOOP_BYTES));
        made.map_err(|error| format!("{}: {error}", self.image.display()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&self.image))?;
        // One cut to see whether it can be done. Nothing is lost yet.
        let tried = self
            .mount()
            .and_then(|()| self.shut_down())
            .and_then(|()| self.recover());
        match tried {
            Ok(()) => {
                self.kind = Kind::Loop;
                Ok(())
            }
            Err(why) => {
                self.unmount();
                let _ = fs::remove_file(&self.image);
                Err(why)
            }
        }
    }

    fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    /// From now on nothing reaches the disk; writes fail.
    pub(crate) fn shut_down(&self) -> Result<(), String> {
        run(Command::new("perl").args(["-e", CUT]).arg(&self.mount)).map(drop)
    }

    /// Brings back what had been flushed. Nobody uses it meanwhile.
    pub(crate) fn recover(&mut self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let back = self
                .unmount_now()
                .and_then(|()| self.mount())
                .and_then(|()| self.probe());
            match back {
                Err(why) if began.elapsed() > UMOUNT_LIMIT => return Err(why),
                Err(_) => sleep(RETRY_EVERY),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn unmount_now(&mut self) -> Result<(), String> {
        if self.is_mounted {
            run(Command::new("umount").arg(&self.mount))?;
            self.is_mounted = false;
        }
        Ok(())
    }

    /// A mount namespace that another program has made meanwhile may hold the file system as it was, without power.
    fn probe(&self) -> Result<(), String> {
        let path = self.mount.join("probe");
        let tried = fs::write(&path, "").and_then(|()| fs::remove_file(&path));
        tried.map_err(|error| format!("the disk is not back ({error}): does another mount namespace hold it?"))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    pub(crate) fn can_be_cut(&self) -> bool {
        self.kind == Kind::Loop
    }

    pub(crate) fn can_be_full(&self) -> bool {
        self.kind != Kind::Plain
    }

    fn filler(&self, number: usize) -> PathBuf {
        self.mount.join(format!("filler{number}"))
    }

    /// Leaves no block free.
    pub(crate) fn fill(&self) {
        let free = run(Command::new("stat").args(["-f", "-c", "%f %S"]).arg(&self.mount))
            .ok()
            .and_then(|text| {
                let (blocks, size) = text.trim().split_once(' ')?;
                Some(blocks.parse::<u64>().ok()? * size.parse::<u64>().ok()?)
            });
        let mut number = 0;
        for piece in free.into_iter().chain(PIECES) {
            // Until it no longer fits; what fits of the last one stays.
            loop {
                number += 1;
                let mut command = Command::new("fallocate");
                command.arg("-l").arg(piece.max(1).to_string()).arg(self.filler(number));
                if run(&mut command).is_err() {
                    break;
                }
            }
        }
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        for entry in fs::read_dir(&self.mount).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("filler") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn unmount(&mut self) {
        if self.is_mounted {
            // Lazily: a folder that stays mounted would stay for ever.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
            self.is_mounted = false;
        }
    }

    /// Copies the data of a failed run to where it can be looked at when nothing is mounted any more.
    pub(crate) fn keep(&self, into: &Path) -> Result<(), String> {
        run(Command::new("cp").arg("-a").arg(self.data()).arg(into)).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
        let _ = fs::remove_file(&self.image);
    }
}

/// Runs a command to its end. Returns what it printed, or what it complained of.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
