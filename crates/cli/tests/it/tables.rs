//! Tables and JSON through the real program.

use serde_json::{Value, json};

use crate::support::{Home, Reply, error};

fn status() -> Value {
    json!({
        "schema": 1,
        "engine": { "name": "qemu", "version": "10.0.2", "accelerator": "kvm" },
        "machines": [], "sessions": [], "forwards": [],
        "folders": [{
            "id": "f1", "path": "/x/shop", "vault": "/v/f1", "protection": "off", "last_snapshot": null,
            "error": null, "profiles": null, "access": "rw",
        }],
        "problems": [{ "severity": "error", "message": "/x/shop is not protected", "command": "ringfence backup on /x/shop" }],
        "a field of a later version": true,
    })
}

#[test]
fn status_for_people_and_for_scripts() {
    let home = Home::new();
    let _server = home.serve(&[("GET /v1/status", Reply::Json(200, status()))]);
    let ran = home.run(&["status"]).expect(0);
    insta::assert_snapshot!(ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "no colour without a terminal");
    assert_eq!(ran.stderr, "", "no progress without a terminal");
    let ran = home.run(&["status", "--json"]).expect(0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).expect("JSON"), status());
}

#[test]
fn lists_as_json_have_a_schema() {
    let home = Home::new();
    let folder = status()["folders"][0].clone();
    let _server = home.serve(&[
        ("GET /v1/folders", Reply::Json(200, json!([folder]))),
        ("GET /v1/machines", Reply::Json(200, json!([]))),
        ("GET /v1/sessions", Reply::Json(200, json!([]))),
        ("GET /v1/images", Reply::Json(200, json!([]))),
        ("GET /v1/recipes", Reply::Json(200, json!([]))),
        ("GET /v1/profiles", Reply::Json(200, json!([]))),
        ("GET /v1/history", Reply::Json(200, json!([]))),
        ("GET /v1/doctor", Reply::Json(200, json!([]))),
    ]);
    for (arguments, noun) in [
        (&["backup", "status", "--json"][..], "folders"),
        (&["folder", "list", "--json"], "folders"),
        (&["machine", "list", "--json"], "machines"),
        (&["session", "list", "--json"], "sessions"),
        (&["image", "list", "--json"], "images"),
        (&["recipe", "list", "--json"], "recipes"),
        (&["profile", "list", "--json"], "profiles"),
        (&["history", "--json"], "snapshots"),
        (&["doctor", "--json"], "findings"),
    ] {
        let ran = home.run(arguments).expect(0);
        let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(value["schema"], 1, "{arguments:?}");
        assert!(value[noun].is_array(), "{arguments:?}: {value}");
    }
    let ran = home.run(&["backup", "status", "--json"]).expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&value["folders"][0]["path"], &value["folders"][0]["vault"]),
        (&json!("/x/shop"), &json!("/v/f1"))
    );
}

#[test]
fn a_bad_finding_fails() {
    let home = Home::new();
    let finding = json!({ "check": "qemu", "verdict": "bad", "message": "not found", "cure": "apt install qemu-system-x86" });
    let _server = home.serve(&[("GET /v1/doctor", Reply::Json(200, json!([finding])))]);
    let ran = home.run(&["doctor"]).expect(1);
    assert!(ran.stdout.contains("next: apt install qemu-system-x86"), "{}", ran.stdout);
}

#[test]
fn a_kind_becomes_its_exit_code() {
    for (kind, code) in [
        ("failed", 1),
        ("usage", 2),
        ("config", 3),
        ("refused", 4),
        ("engine", 5),
        ("vault", 6),
        ("daemon", 7),
    ] {
        let home = Home::new();
        let _server =
            home.serve(&[("GET /v1/status", Reply::Json(400, error(kind, "it did not work")))]);
        let ran = home.run(&["status"]).expect(code);
        assert!(ran.stderr.contains("error: it did not work"), "{}", ran.stderr);
        assert!(ran.stderr.contains("next: type this"), "{}", ran.stderr);
    }
}

#[test]
fn bytes_and_keys_come_alone_on_standard_output() {
    let home = Home::new();
    let root = home.path("work");
    let lookup =
        json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" });
    let server = home.serve(&[
        ("GET /v1/folders/lookup", Reply::Json(200, lookup)),
        ("GET /v1/show", Reply::Chunks(vec![b"\x00\x1b[2J", b"\n\nend"], false)),
        (
            "GET /v1/backup/key",
            Reply::Json(
                200,
                json!({ "key": "secret-key", "check_word": "word", "folder": root, "id": "work-00000000", "vault": "/v", "copies": [] }),
            ),
        ),
    ]);
    let output = home.command(&["show", "latest", "src/a b"]).output().expect("it starts");
    assert_eq!(output.stdout, b"\x00\x1b[2J\n\nend");
    let asked = server.seen().pop().expect("a request");
    assert!(asked.query.ends_with("&snapshot=latest&path_b64=c3JjL2EgYg%3D%3D"), "{asked:?}");
    assert_eq!(home.run(&["backup", "key"]).expect(0).stdout, "secret-key\n");
}

#[test]
fn rules_and_protection_are_sent_as_typed() {
    let home = Home::new();
    let server = home.serve(&[
        ("POST /v1/folders/set", Reply::Json(200, Value::Null)),
        ("POST /v1/backup/set", Reply::Json(200, Value::Null)),
    ]);
    home.run(&["folder", "set", ".", "--profiles", "claude,label:self-hosted", "--access", "ro"])
        .expect(0);
    let body = server.bodies("POST /v1/folders/set").remove(0);
    assert_eq!(body["profiles"], json!(["claude", "label:self-hosted"]));
    assert_eq!(body["access"], "ro");
    let ran = home.run(&["-q", "backup", "off", "/x/shop", "--i-understand", "shop"]).expect(0);
    assert!(ran.stderr.contains("NOT protected"), "never silent: {}", ran.stderr);
    assert_eq!(
        server.bodies("POST /v1/backup/set"),
        [json!({ "folder": "/x/shop", "enabled": false, "name": "shop" })]
    );
}

#[test]
fn a_backup_is_not_turned_off_without_a_name_or_a_terminal() {
    let home = Home::new();
    let server = home.serve(&[("POST /v1/backup/set", Reply::Json(200, Value::Null))]);
    let ran = home.run(&["backup", "off", "/x/shop"]).expect(2);
    let hint = "next: ringfence backup off /x/shop --i-understand shop";
    assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    assert_eq!(server.bodies("POST /v1/backup/set"), [] as [Value; 0]);
}

#[test]
fn a_pause_has_an_end() {
    let home = Home::new();
    let server = home.serve(&[
        ("POST /v1/backup/pause", Reply::Json(200, Value::Null)),
        ("POST /v1/backup/resume", Reply::Json(200, Value::Null)),
    ]);
    let ran = home.run(&["backup", "pause", "/x/shop"]).expect(0);
    assert!(ran.stderr.contains("pause for 1 h and then go on by themselves"), "{}", ran.stderr);
    home.run(&["backup", "pause", "/x/shop", "--for", "90min"]).expect(0);
    assert_eq!(
        server.bodies("POST /v1/backup/pause"),
        [
            json!({ "folder": "/x/shop", "seconds": 3600 }),
            json!({ "folder": "/x/shop", "seconds": 5400 })
        ]
    );
    for length in ["25h", "0h", "ever"] {
        let ran = home.run(&["backup", "pause", "/x/shop", "--for", length]).expect(2);
        assert!(ran.stderr.contains("no length of a pause"), "{}", ran.stderr);
    }
    home.run(&["backup", "resume", "/x/shop"]).expect(0);
    assert_eq!(server.bodies("POST /v1/backup/resume"), [json!({ "folder": "/x/shop" })]);
}

#[test]
fn a_machine_is_deleted_only_with_a_yes() {
    let home = Home::new();
    let server =
        home.serve(&[("DELETE /v1/machines/shop", Reply::Stream(vec![json!({ "done": null })]))]);
    let ran = home.run(&["machine", "delete", "shop"]).expect(4);
    assert!(ran.stderr.contains("next: ringfence machine delete shop --yes"), "{}", ran.stderr);
    assert_eq!(server.seen(), []);
    home.run(&["machine", "delete", "shop", "--yes"]).expect(0);
    assert_eq!(server.seen().len(), 1);
}
