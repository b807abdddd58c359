//! Tests of [`super`].

use super::*;

#[test]
fn switches_are_read_as_go_reads_them() {
    let read_only = |word: &str| {
        parse_mount(&format!("type=bind,src=/a,dst=/b,ro{word}")).map(|request| request.read_only).ok()
    };
    for word in ["", "=1", "=t", "=T", "=true", "=TRUE", "=True"] {
        assert_eq!(read_only(word), Some(true), "{word}");
    }
    for word in ["=0", "=f", "=F", "=false", "=FALSE", "=False"] {
        assert_eq!(read_only(word), Some(false), "{word}");
    }
    for word in ["=no", "=yes", "=", "=tRUE", "=10"] {
        assert_eq!(read_only(word), None, "{word}");
    }
    for key in ["rw", "readwrite", "bind-nonrecursive", "volume-nocopy", "tmpcopyup", "notmpcopyup", "U"] {
        let kind = match key {
            "volume-nocopy" => "volume,src=a",
            "tmpcopyup" | "notmpcopyup" => "tmpfs",
            _ => "bind,src=/a",
        };
        let text = |value| format!("type={kind},dst=/b,{key}={value}");
        assert!(parse_mount(&text("T")).is_ok() && parse_mount(&text("off")).is_err(), "{key}");
    }
}

#[test]
fn options_belong_to_types() {
    for (text, is_fine) in [
        ("type=bind,src=/a,dst=/b,bind-propagation=rslave", true),
        ("type=bind,src=/a,dst=/b,volume-nocopy=true", false),
        ("type=bind,src=/a,dst=/b,tmpfs-size=1m", false),
        ("src=a,dst=/b,volume-nocopy", true),
        ("src=a,dst=/b,bind-propagation=rslave", false),
        ("type=tmpfs,dst=/b,tmpfs-mode=700", true),
        ("type=tmpfs,dst=/b,image-subpath=x", false),
        ("type=image,src=a,dst=/b,image-subpath=x", true),
    ] {
        assert_eq!(parse_mount(text).is_ok(), is_fine, "{text}");
    }
}

#[test]
fn volumes() {
    let kind = |text: &str| parse_volume(OsStr::new(text)).map(|request| request.kind);
    let bind = |source: &str, recursive| {
        Ok(MountKindRequest::Bind { source: source.into(), recursive, chown: false, glob: false })
    };
    let volume = |name: Option<&str>, copy_up| {
        Ok(MountKindRequest::Volume {
            name: name.map(str::to_owned),
            copy_up,
            chown: false,
            subpath: None,
            driver_options: vec![],
            labels: vec![],
        })
    };
    assert_eq!(kind("/a:/b"), bind("/a", true));
    assert_eq!(kind("./a:/b:ro,z,bind"), bind("./a", false));
    assert_eq!(kind(".:/b"), bind(".", true));
    assert_eq!(kind("data:/b:nocopy"), volume(Some("data"), false));
    assert_eq!(kind("/b"), volume(None, true));
    // Which no volume can be called.
    assert_eq!(kind("a/b:/c"), volume(Some("a/b"), true));
    let request = parse_volume(OsStr::new("/a:/b:ro,noexec,rslave")).unwrap();
    assert!(request.read_only);
    assert_eq!((request.options, request.propagation), (vec!["noexec".into()], Some("rslave".into())));
    let request = parse_volume(OsStr::new("/a:/b:O,upperdir=/u,workdir=/w")).unwrap();
    assert_eq!(request.overlay, Some(OverlayRequest { upper: Some("/u".into()), work: Some("/w".into()) }));
    assert!(parse_volume(OsStr::new("/a:/b:idmap")).unwrap().idmap.is_some());
    for bad in [
        "",
        ":",
        "/a:",
        ":/b",
        "/a:/b:ro:x",
        "/a:/b:huh",
        "/a:b",
        "a:b",
        "/a:/b:ro,rw",
        "/a:/b:O,ro",
        "/a:/b:slave,private",
        "/a:/b:exec,noexec",
        "/a:/b:nodev,nodev",
    ] {
        assert!(parse_volume(OsStr::new(bad)).is_err(), "{bad}");
    }
    let bytes = OsStr::from_bytes(b"/nu\xff:/x");
    let MountKindRequest::Bind { source, .. } = parse_volume(bytes).unwrap().kind else { panic!() };
    assert_eq!(source.as_os_str().as_bytes(), b"/nu\xff");
}

#[test]
fn mounts() {
    let request = parse_mount("type=bind,src=/a,dst=/b,ro=true,bind-propagation=rshared").unwrap();
    assert!(request.read_only && request.propagation.as_deref() == Some("rshared"));
    assert!(matches!(request.kind, MountKindRequest::Bind { .. }));
    let request = parse_mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=0700").unwrap();
    let data = vec!["size=67108864".to_owned(), "mode=0700".to_owned()];
    assert_eq!(request.kind, MountKindRequest::Tmpfs { data, copy_up: true, chown: false, ramfs: false });
    let request = parse_mount("type=bind,\"src=/a,b\",target=/b").unwrap();
    assert!(matches!(request.kind, MountKindRequest::Bind { source, .. } if source.as_os_str() == "/a,b"));
    let image = parse_mount("type=image,src=i,dst=/i,rw=true,subpath=/etc").unwrap().kind;
    let want =
        MountKindRequest::Image { reference: "i".into(), subpath: Some("/etc".into()), writable: true };
    assert_eq!(image, want);
    let glob = parse_mount("type=glob,src=/etc/host*").unwrap();
    assert!(glob.target.is_empty() && matches!(glob.kind, MountKindRequest::Bind { glob: true, .. }));
    for bad in
        ["type=bind,src=/a", "type=bind,target=/b", "type=x,target=/b", "type=bind,huh,target=/b", "target=b"]
    {
        assert!(parse_mount(bad).is_err(), "{bad}");
    }
}

#[test]
fn tmpfs_options() {
    let request = parse_tmpfs("/t:rw,size=64k,noexec").unwrap();
    let data = vec!["size=64k".to_owned()];
    assert_eq!(request.kind, MountKindRequest::Tmpfs { data, copy_up: true, chown: false, ramfs: false });
    assert_eq!(request.options, ["noexec"]);
    assert!(parse_tmpfs("t").is_err() && parse_tmpfs("/t:what").is_err());
}
