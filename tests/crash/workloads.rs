//! What programs do that must survive a power cut.
use super::story::Story;
use crate::model::rng::Rng;
use cryptfs::fs::Rename;

/// A workload: its name, and what it does.
pub type Workload = (&'static str, fn(&mut Story, &mut Rng));

/// All of them.
pub const ALL: [Workload; 13] = [
    ("append in small steps", append),
    ("overwrite in place", overwrite),
    ("grow over the edges of units", grow),
    ("truncate down and up", truncate),
    ("rewrite after O_TRUNC", rewrite),
    ("replace by rename", replace),
    ("mkdir, create, fsync", make),
    ("long names", long_names),
    ("short units", short_units),
    ("holes", holes),
    ("extended attributes", attributes),
    ("links and exchanges", links),
    ("anything", anything),
];

fn data(rng: &mut Rng, length: usize) -> Vec<u8> {
    Rng::bytes(rng.next() | 1, length)
}

/// Files that nobody touches after a sync: they must be as they are.
fn bystanders(story: &mut Story, rng: &mut Rng) {
    story.mkdir("still");
    for (name, length) in [("one", 5000), ("still/two", 333), ("still/three", 20_000)] {
        story.create(name);
        story.write(name, 0, data(rng, length));
        story.close(name);
    }
    story.sync();
}

fn append(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    story.create("log");
    story.fsync_dir("");
    for _ in 0..40 {
        let length = rng.pick(&[30, 100, 900, 3000]);
        let end = story.size("log");
        story.write("log", end, data(rng, length));
        if rng.once(3) {
            story.fsync("log");
        }
        if rng.once(15) {
            story.close("log");
            story.open("log", false);
        }
    }
}

fn overwrite(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    story.create("data");
    story.write("data", 0, data(rng, 40_000));
    story.fsync("data");
    story.fsync_dir("");
    for _ in 0..40 {
        let offset = rng.below(38_000);
        let length = rng
            .pick(&[1, 100, 2000, 4064, 9000])
            .min(40_000 - offset as usize);
        story.write("data", offset, data(rng, length));
        if rng.once(4) {
            story.fsync("data");
        }
    }
}

fn grow(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    for name in ["a", "b", "c", "d"] {
        story.create(name);
        let edge = rng.pick(&[4000, 8064, 12_128]);
        let before = edge - 1 - rng.below(80);
        story.write(name, 0, data(rng, before as usize));
        story.fsync(name);
        story.fsync_dir("");
        for _ in 0..6 {
            let end = story.size(name);
            let length = rng.pick(&[1, 2, 40, 64, 4064, 5000]);
            story.write(name, end, data(rng, length));
            if rng.once(3) {
                story.fsync(name);
            }
        }
    }
}

fn truncate(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    story.create("t");
    story.write("t", 0, data(rng, 30_000));
    story.fsync("t");
    story.fsync_dir("");
    for _ in 0..25 {
        let edge = rng.pick(&[0, 4000, 8064, 12_128, 20_256]);
        let size = (edge + rng.below(5)).saturating_sub(2) + rng.pick(&[0, 0, 700]);
        story.truncate("t", size);
        if rng.once(2) {
            let end = story.size("t");
            let length = rng.pick(&[10, 3000, 6000]);
            story.write("t", end, data(rng, length));
        }
        if rng.once(3) {
            story.fsync("t");
        }
    }
}

fn rewrite(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    story.create("config");
    story.write("config", 0, data(rng, 9000));
    story.fsync("config");
    story.fsync_dir("");
    story.close("config");
    for _ in 0..12 {
        story.open("config", true);
        let length = rng.pick(&[10, 4000, 9000]);
        story.write("config", 0, data(rng, length));
        if rng.once(2) {
            story.fsync("config");
        }
        story.close("config");
    }
}

fn replace(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    story.create("config");
    story.write("config", 0, data(rng, 5000));
    story.fsync("config");
    story.close("config");
    story.fsync_dir("");
    for _ in 0..12 {
        story.create("config.new");
        let length = rng.pick(&[10, 4000, 9000, 13_000]);
        story.write("config.new", 0, data(rng, length));
        story.fsync("config.new");
        if rng.once(2) {
            story.close("config.new");
            story.rename("config.new", "config", Rename::Replace);
        } else {
            story.rename("config.new", "config", Rename::Replace);
            story.close("config");
        }
        if rng.once(2) {
            story.fsync_dir("");
        }
    }
}

fn make(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    let mut holds_another = [false; 8];
    for index in 0..8 {
        let dir = format!("d{index}");
        story.mkdir(&dir);
        let inner = format!("{dir}/sub");
        story.mkdir(&inner);
        for path in [format!("{dir}/file"), format!("{inner}/file")] {
            story.create(&path);
            story.write(&path, 0, data(rng, 100 + 1500 * index));
            story.fsync(&path);
            story.close(&path);
        }
        story.fsync_dir(&inner);
        story.fsync_dir(&dir);
        story.fsync_dir("");
        if index > 2 {
            let old = format!("d{}", index - 3);
            story.unlink(&format!("{old}/sub/file"));
            story.rmdir(&format!("{old}/sub"));
            if rng.once(2) || holds_another[index - 3] {
                holds_another[index] = true;
                story.rename(&old, &format!("{dir}/moved"), Rename::NoReplace);
                story.fsync_dir(&dir);
            } else {
                story.unlink(&format!("{old}/file"));
                story.rmdir(&old);
            }
            story.fsync_dir("");
        }
    }
}

fn long_names(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    let name = |index: usize| {
        char::from(b'k' + index as u8)
            .to_string()
            .repeat(170 + 17 * (index % 6))
    };
    for index in 0..6 {
        let (file, dir) = (name(index), name(index + 10 - 4));
        story.create(&file);
        story.write(&file, 0, data(rng, 500));
        story.fsync(&file);
        story.close(&file);
        if index < 4 {
            story.mkdir(&dir);
            story.create(&format!("{dir}/{file}"));
            story.close(&format!("{dir}/{file}"));
        }
        if rng.once(2) {
            story.fsync_dir("");
        }
        if index > 1 {
            story.rename(&name(index - 1), &format!("s{index}"), Rename::NoReplace);
            story.rename(&format!("s{index}"), &name(index - 1), Rename::Replace);
        }
        if index > 3 {
            story.unlink(&name(index - 3));
            let gone = name(index + 10 - 4 - 4);
            story.unlink(&format!("{gone}/{}", name(index - 4)));
            story.rmdir(&gone);
        }
    }
    story.fsync_dir("");
}

/// A unit in the middle that is not full, and one that could be: each becomes the last one.
fn short_units(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    for name in ["a", "b"] {
        story.create(name);
        story.fsync_dir("");
        story.write(name, 0, data(rng, 6000));
        story.fsync(name);
        story.truncate(name, 12_126);
        story.write(name, 12_126, data(rng, 6000));
        story.fsync(name);
        // The second unit holds 2000 bytes and is zeros from there on.
        story.truncate(name, 8064);
        story.truncate(name, 2271);
        story.fsync(name);
        story.write(name, 6262, data(rng, 1));
        // Zeros up to the end of a unit that is the last durable one.
        story.punch(name, 528, 4652);
        story.fsync(name);
        story.truncate(name, 3000 + rng.below(500));
        story.close(name);
        story.open(name, false);
    }
}

fn holes(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    for name in ["disk", "disk2"] {
        story.create(name);
        story.fsync_dir("");
        for _ in 0..18 {
            let offset = rng.below(12) * 4064 + rng.below(3);
            match rng.below(5) {
                0 if story.size(name) > 0 => story.punch(name, offset, 4064 * (1 + rng.below(3))),
                1 => {
                    let size = offset + rng.below(9000);
                    story.truncate(name, size);
                }
                _ => {
                    let length = rng.pick(&[10, 4064, 9000]);
                    story.write(name, offset, data(rng, length));
                }
            }
            if rng.once(4) {
                story.fsync(name);
            }
        }
    }
}

fn attributes(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    story.create("f");
    story.write("f", 0, data(rng, 100));
    story.fsync("f");
    story.fsync_dir("");
    for index in 0..20 {
        let name = format!("user.{}", index % 3);
        let has = index >= 3;
        if has && rng.once(4) {
            story.set_xattr("f", &name, None);
        }
        let length = rng.pick(&[0, 10, 300]);
        story.set_xattr("f", &name, Some(data(rng, length)));
        if rng.once(3) {
            story.fsync("f");
        }
    }
}

fn links(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    for index in 0..6 {
        let (one, other) = (format!("a{index}"), format!("b{index}"));
        for name in [&one, &other] {
            story.create(name);
            let length = 50 + rng.below(5000) as usize;
            story.write(name, 0, data(rng, length));
            story.fsync(name);
            story.close(name);
        }
        story.symlink(&format!("l{index}"), "still/two");
        story.fsync_dir("");
        story.rename(&one, &other, Rename::Exchange);
        story.link(&one, &format!("still/{index}"));
        if rng.once(2) {
            story.fsync_dir("still");
        }
        story.unlink(&one);
        story.rename(
            &format!("l{index}"),
            &format!("still/l{index}"),
            Rename::Replace,
        );
        if rng.once(2) {
            story.fsync_dir("");
        }
    }
}

/// A bit of everything on a few names.
fn anything(story: &mut Story, rng: &mut Rng) {
    bystanders(story, rng);
    let mut open: Vec<String> = Vec::new();
    let mut names = 0;
    for _ in 0..70 {
        if open.len() < 2 || rng.once(8) {
            names += 1;
            let name = if rng.once(3) {
                format!("still/{names}")
            } else {
                format!("f{names}")
            };
            story.create(&name);
            open.push(name);
            continue;
        }
        let which = rng.below(open.len() as u64) as usize;
        let name = open[which].clone();
        match rng.below(12) {
            0..4 => {
                let (offset, length) = (rng.below(14_000), rng.pick(&[1, 64, 4064, 7000]));
                story.write(&name, offset, data(rng, length));
            }
            4 => story.truncate(&name, rng.below(14_000)),
            5 => story.punch(&name, rng.below(9000), 1 + rng.below(9000)),
            6 | 7 => story.fsync(&name),
            8 => story.fsync_dir(rng.pick(&["", "still"])),
            9 => story.set_xattr(&name, "user.x", Some(vec![1; rng.below(40) as usize])),
            10 => {
                names += 1;
                let new = format!("still/r{names}");
                story.rename(&name, &new, Rename::Replace);
                open[which] = new;
            }
            _ => {
                story.close(&name);
                if rng.once(2) {
                    story.unlink(&name);
                }
                open.remove(which);
            }
        }
    }
}
