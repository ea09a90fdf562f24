//! Every help text, as a person sees it.

use clap::CommandFactory as _;

#[test]
fn help_texts() {
    let mut root = ringfence_cli::args::Cli::command().term_width(100);
    root.build();
    let mut texts = Vec::new();
    collect(&mut root, "ringfence", &mut texts);
    insta::assert_snapshot!("help", texts.join("\n"));
}

fn collect(command: &mut clap::Command, path: &str, texts: &mut Vec<String>) {
    if command.is_hide_set() {
        return;
    }
    texts.push(format!("──── {path} --help\n{}", command.render_long_help()));
    for child in command.get_subcommands_mut() {
        let path = format!("{path} {}", child.get_name());
        collect(child, &path, texts);
    }
}

#[test]
fn the_arguments_are_sound() {
    ringfence_cli::args::Cli::command().debug_assert();
}
