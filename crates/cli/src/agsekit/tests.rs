//! Files as people have them.

use super::*;

const USUAL: &str = r#"
global:
  ssh_keys_folder: ~/.config/agsekit/ssh
  http_proxy_port_pool: {start: 48000, end: 49000}
vms:
  zoo:          # the first one, though not by its letters
    cpu: 2
    ram: 4G
    disk: 20G
    cloud-init: {}
    install: [nodejs, docker]
    allowed_agents: qwen-local, claude
    port-forwarding:
      - {type: local, host-addr: "127.0.0.1:8080", vm-addr: "127.0.0.1:3000"}
  attic: {cpu: many, ram: lots, disk: 10GiB}
agents:
  qwen-local:
    type: qwen
    version: stable
    env:
      OPENAI_BASE_URL: http://10.0.0.5:8000/v1
      OPENAI_API_KEY: sk-do-not-copy
      DEBUG: 1
    default-args: [--yolo, --max, 3]
  claude: {type: claude}
  helper: {type: aider}
  "no name!": {type: codex}
mounts:
  - source: ~/work/shop
    target: /home/ubuntu/shop
    backup: ~/work/backups-shop
    interval: 5
    max_backups: 100
  - source: /srv/client $a
    vm: attic
    allowed_agents: [qwen-local, helper]
  - source: /srv/client $a
    allowed_agents: [claude]
  - source: projects/here
  - {source: /srv/open, vm: gone, colour: red}
"#;

fn left(imported: &Imported) -> String {
    imported.left.iter().map(|left| format!("{}: {}\n", left.what, left.why)).collect()
}

#[test]
fn what_has_a_counterpart_is_written_and_the_rest_is_told() {
    let imported = convert(&read(USUAL).expect("read"));
    insta::assert_snapshot!(
        "agsekit",
        format!(
            "{}\n---- profiles {:?}\n---- folders {:?}\n---- left\n{}",
            imported.text,
            imported.profiles,
            imported.folders,
            left(&imported)
        )
    );
    let whole = serde_json::to_string(&imported).expect("json");
    assert!(!whole.contains("do-not-copy"), "a secret was copied: {whole}");
}

#[test]
fn what_is_written_has_no_mistake() {
    use ringfence_model::config::Source;
    let imported = convert(&read(USUAL).expect("read"));
    let source = Source { file: "/c/conf.d/agsekit.toml".into(), text: imported.text };
    let home = Some(Path::new("/home/ann"));
    let reading = crate::config_files::read(vec![source], home).expect("no mistake");
    let shop = Path::new("/home/ann/work/shop");
    let folder = reading.config.folders.iter().find(|rules| rules.path == shop).expect("a rule");
    assert_eq!(folder.profiles.as_ref().map(Vec::len), Some(2));
}

/// Who is not known here sees nothing; that nobody is left is no list that says nothing.
#[test]
fn no_folder_is_shown_to_more_agents_than_before() {
    for list in ["[helper]", "helper", "'no name!'", "[]", "''"] {
        let text = format!(
            "agents: {{helper: {{type: aider}}, claude: {{type: claude}}}}\nmounts: [{{source: /a, allowed_agents: {list}}}]"
        );
        let imported = convert(&read(&text).expect("read"));
        assert!(imported.text.contains("profiles = []"), "{list}: {}", imported.text);
    }
}

#[test]
fn nothing_in_it_is_nothing() {
    for text in ["", "# nothing yet\n", "vms:\nmounts:\nagents:\n", "{}"] {
        let imported = convert(&read(text).expect(text));
        assert_eq!(imported.text, "schema = 1\n", "{text}");
        assert_eq!(imported.left, []);
    }
}

#[test]
fn a_mistake_names_its_place() {
    let cases = [
        "mounts:\n  - target: /x\n",
        "mounts: 7\n",
        "agents:\n  claude:\n    env: {}\n",
        "vms:\n\t- x\n",
        "mounts: [{source: [1]}]\n",
        "agents: {a: {type: claude}, a: {type: codex}}\n",
        "- a list\n",
    ];
    let told: Vec<String> =
        cases.iter().map(|text| format!("{text}=> {}\n", read(text).expect_err(text))).collect();
    insta::assert_snapshot!("mistakes", told.join("\n"));
}

#[test]
fn a_mistake_repeats_no_secret() {
    for text in [
        "agents: {a: {type: claude, env: {K: sk-hidden, K: sk-hidden}}}\n",
        "agents:\n  a:\n    env: {K: sk-hidden}\n    default-args: sk-hidden\n",
    ] {
        let told = read(text).expect_err(text);
        assert!(!told.contains("hidden"), "{told}");
    }
}

/// A file of a few lines does not become gigabytes.
#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", ")));
    }
    assert!(read(&text).is_err());
}
