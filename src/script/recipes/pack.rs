//! Making a pack: a recipe's folder as one `*.tar.zst`, the same bytes from the same files on any machine.

use super::{
    find::manifest_entry,
    manifest::{MANIFEST, Manifest},
    unpack::{self, MAX_BYTES, MAX_ENTRIES, MAX_PATH, SUFFIX},
};
use crate::engine::run::atomic::write_atomic;
use crate::script::{Diagnostic, Script, options::Declared, settings, sources::display_name};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// zstd's effort: a recipe is small and packed once.
const LEVEL: i32 = 12;

/// What [`pack`] made.
#[derive(Debug)]
pub struct Packed {
    /// The pack.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// What is in it: path and size in bytes, in the pack's order.
    pub files: Vec<(String, u64)>,
    /// What lies in the folder and was left out.
    pub left_out: Vec<String>,
}

/// Packs the recipe in `folder` into `out`, or into `NAME-VERSION.tar.zst` in the working directory.
///
/// Left out are hidden files, `runs/` and other packs beside the manifest.
///
/// # Errors
/// No manifest, or one that does not fit the script; a script that does not parse; a link that leads out of the folder, or
/// another file that a pack cannot hold.
pub fn pack(folder: &Path, out: Option<&Path>) -> Result<Packed, Box<Diagnostic>> {
    let no_manifest = || {
        let message = format!("{} is no recipe's folder: there is no {MANIFEST} in it", folder.display());
        Box::new(Diagnostic::new("recipe", message).with_help("`host new NAME` makes one with everything in it"))
    };
    let manifest = Manifest::read(folder)?.ok_or_else(no_manifest)?;
    manifest_entry(folder, &manifest)?;
    let Contents { mut files, left_out } = contents(folder)?;
    check_scripts(&files, &manifest)?;
    // The manifest first: `host ls` need not read further.
    files.sort_by(|a, b| (a.path != MANIFEST, &a.path).cmp(&(b.path != MANIFEST, &b.path)));

    let top = format!("{}-{}", manifest.name, manifest.version);
    let mut listed = Vec::new();
    let mut tar = tar::Builder::new(Vec::new());
    for file in &files {
        let path = format!("{top}/{}", file.path);
        let bytes =
            fs::read(&file.real).map_err(|e| problem(format!("{} cannot be read: {e}", file.real.display())))?;
        append(&mut tar, &path, &bytes).map_err(|e| problem(format!("{path} cannot be packed: {e}")))?;
        listed.push((path, bytes.len() as u64));
    }
    let packed =
        tar.into_inner().and_then(|tar| compress(&tar)).map_err(|e| problem(format!("packing failed: {e}")))?;
    let file = out.map_or_else(|| PathBuf::from(format!("{top}{SUFFIX}")), Path::to_path_buf);
    write_atomic(&file, &packed).map_err(|e| Box::new(Diagnostic::from(&e)))?;
    Ok(Packed { file, bytes: packed.len() as u64, files: listed, left_out })
}

/// One file, with nothing in its header that depends on who packs it and when.
fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    tar.append(&header, bytes)
}

fn compress(tar: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.window_log(unpack::MAX_WINDOW_LOG)?;
    encoder.set_pledged_src_size(Some(tar.len() as u64))?;
    std::io::Write::write_all(&mut encoder, tar)?;
    encoder.finish()
}

/// A file of a recipe.
#[derive(Debug)]
pub(super) struct File {
    /// Where it stands in the recipe, with `/` between the parts.
    pub(super) path: String,
    /// Where it lies on the disk.
    pub(super) real: PathBuf,
}

/// What belongs to a recipe.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Its files, sorted.
    pub(super) files: Vec<File>,
    /// What lies there and does not belong to it.
    pub(super) left_out: Vec<String>,
}

/// The files of the recipe in `folder`.
pub(super) fn contents(folder: &Path) -> Result<Contents, Box<Diagnostic>> {
    let root = folder.canonicalize().map_err(|e| problem(format!("{} cannot be read: {e}", folder.display())))?;
    let mut found = Contents::default();
    let mut bytes = 0;
    walk(&root, &root, "", &mut bytes, &mut found)?;
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut seen = HashSet::new();
    if let Some(twice) = found.files.iter().find(|f| !seen.insert(f.path.to_lowercase())) {
        let message = format!("{}: another file's name differs only in its case", twice.path);
        return Err(Box::new(Diagnostic::new("recipe", message).with_help("not every disk can hold both: rename one")));
    }
    Ok(found)
}

fn walk(root: &Path, dir: &Path, at: &str, bytes: &mut u64, found: &mut Contents) -> Result<(), Box<Diagnostic>> {
    let unreadable = |e: std::io::Error| problem(format!("{} cannot be read: {e}", display_name(dir)));
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (real, shown) = (entry.path(), display_name(&entry.path()));
        let name = entry.file_name().into_string().map_err(|_| problem(format!("{shown}: the name is not UTF-8")))?;
        let path = format!("{at}{name}");
        let kind = entry.file_type().map_err(unreadable)?;
        if name.starts_with('.') || at.is_empty() && (name == "runs" || name.ends_with(SUFFIX)) {
            found.left_out.push(if kind.is_dir() { format!("{path}/") } else { path });
        } else if kind.is_dir() {
            walk(root, &real, &format!("{path}/"), bytes, found)?;
        } else {
            let real = if kind.is_symlink() { behind_link(root, &real, &shown)? } else { real };
            let file = fs::metadata(&real).map_err(unreadable)?;
            if !file.is_file() {
                return Err(problem(format!("{shown} is neither a file nor a folder")));
            }
            *bytes += file.len();
            if let Err(why) = unpack::safe_path(path.as_bytes()) {
                return Err(problem(format!("{path:?} {why}")));
            }
            if path.len() > MAX_PATH - 100 {
                return Err(problem(format!("{shown}: the path is longer than {} bytes", MAX_PATH - 100)));
            }
            found.files.push(File { path, real });
            if found.files.len() > MAX_ENTRIES || *bytes > MAX_BYTES {
                let most = format!("{MAX_ENTRIES} files and {} MiB", MAX_BYTES >> 20);
                let help = "keep models and data outside, and name them with an option";
                let message = format!("{}: a recipe holds at most {most}", display_name(root));
                return Err(Box::new(Diagnostic::new("recipe", message).with_help(help)));
            }
        }
    }
    found.left_out.sort();
    Ok(())
}

/// The file behind a link that stays in the folder.
fn behind_link(root: &Path, link: &Path, shown: &str) -> Result<PathBuf, Box<Diagnostic>> {
    let real = link.canonicalize().map_err(|e| problem(format!("{shown} is a link to nowhere: {e}")))?;
    if real.is_dir() {
        return Err(problem(format!("{shown} is a link to a folder; a pack holds no links")));
    }
    if real.starts_with(root) {
        return Ok(real);
    }
    let message = format!("{shown} is a link out of the recipe's folder, to {}", real.display());
    Err(Box::new(Diagnostic::new("recipe", message).with_help("copy the file into the folder")))
}

/// Every script parses, and the defaults of the manifest fit the options of the entry.
fn check_scripts(files: &[File], manifest: &Manifest) -> Result<(), Box<Diagnostic>> {
    let entry: PathBuf = Path::new(&manifest.entry).components().filter(|c| c.as_os_str() != ".").collect();
    let mut entered = false;
    for file in files.iter().filter(|f| f.path.ends_with(".rhai")) {
        let name = display_name(&file.real);
        let text = settings::read_text(&file.real, &name)?;
        let mut declared = Declared::read(&Script { name, text, folder: None })?;
        if Path::new(&file.path) == entry {
            entered = true;
            declared.set_defaults(manifest)?;
        }
    }
    match entered {
        true => Ok(()),
        false => Err(manifest.wrong("entry", format!("`entry` names {}, which is left out of packs", manifest.entry))),
    }
}

fn problem(message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("recipe", message))
}
