//! The generated Rust is what the schema files say.

use std::path::{Path, PathBuf};
use std::process::Command;

const MODULES: [&str; 5] = [
    "anchor_capnp.rs",
    "channel_capnp.rs",
    "cluster_capnp.rs",
    "host_capnp.rs",
    "process_capnp.rs",
];

/// Runs `capnpc` over the schema files; the modules land in `output`.
fn generate(output: &Path) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    capnpc::CompilerCommand::new()
        .src_prefix(package)
        .default_parent_module(vec!["api".into()])
        .file(package.join("anchor.capnp"))
        .file(package.join("channel.capnp"))
        .file(package.join("cluster.capnp"))
        .file(package.join("host.capnp"))
        .file(package.join("process.capnp"))
        .output_path(output)
        .run()
        .expect("capnp compiles the schema files");
}

fn capnp_is_installed() -> bool {
    Command::new("capnp").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// A module's text, but for the line that names the version of the `capnp` tool.
fn read(folder: &Path, module: &str) -> String {
    let path = folder.join(module);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().filter(|line| !line.starts_with("// capnp binary version")).collect()
}

#[test]
fn generated_code_equals_what_the_schema_files_give() {
    let checked_in: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src", "api"].iter().collect();
    if std::env::var_os("KILLICK_REGENERATE").is_some() {
        return generate(&checked_in);
    }
    if !capnp_is_installed() {
        assert!(std::env::var_os("CI").is_none(), "no capnp tool on the PATH of a CI run");
        return println!("skipped: no capnp tool on the PATH to compare with");
    }
    let fresh = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("generated");
    std::fs::create_dir_all(&fresh).expect("a folder for the fresh modules");
    generate(&fresh);
    for module in MODULES {
        assert!(
            read(&checked_in, module) == read(&fresh, module),
            "src/api/{module} is not what the schema gives: \
             KILLICK_REGENERATE=1 cargo test -p killick-schema --test generated"
        );
    }
}
