//! Lines of passwd(5) and group(5), and what the container's own two files get added to them.
//! Pure: neither NSS nor a file is asked here.

use serde::{Deserialize, Serialize};

/// A user of the host, as a line in the container's passwd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostUser {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The name of group `gid`, or its number.
    pub(crate) group: String,
    pub(crate) gecos: String,
    /// The home directory on the host.
    pub(crate) home: String,
}

/// What the container's passwd and group get added (`--passwd`, `--hostuser` …).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accounts {
    /// `--passwd=false`: both files stay as the image has them.
    #[serde(default)]
    pub(crate) untouched: bool,
    /// `--passwd-entry`: the line for the container's user, with `$USERNAME $UID $GID $NAME $HOME` in it.
    #[serde(default)]
    pub(crate) passwd_entry: Option<String>,
    /// `--group-entry`: the line for its group, with `$GROUPNAME $GID $USERLIST` in it.
    #[serde(default)]
    pub(crate) group_entry: Option<String>,
    /// The caller, under the numbers they have inside (`--userns=keep-id`).
    #[serde(default)]
    pub(crate) caller: Option<HostUser>,
    /// `--hostuser`.
    #[serde(default)]
    pub(crate) host_users: Vec<HostUser>,
}

/// What the image's files are to be asked and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    pub(crate) accounts: &'a Accounts,
    /// The container's user, as `user[:group]`.
    pub(crate) user: &'a str,
    /// The working directory: the home of users that have none.
    pub(crate) directory: &'a str,
    /// Home directories of the host that are mounted inside.
    pub(crate) mounted_homes: &'a [String],
}

/// The entry of user `uid` in the text of a passwd file.
pub(crate) fn host_user(passwd: &str, group: &str, find: impl Fn(&str, u32) -> bool) -> Option<HostUser> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, gecos, home, ..] = fields[..] else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        find(name, uid).then(|| HostUser {
            name: name.to_owned(),
            uid,
            gid,
            group: group_name(group, gid).map_or_else(|| gid.to_string(), str::to_owned),
            gecos: gecos.to_owned(),
            home: home.to_owned(),
        })
    })
}

/// The name of group `gid` in the text of a group file.
pub(crate) fn group_name(group: &str, gid: u32) -> Option<&str> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

/// The lines that the container's passwd and group lack, each with its newline.
///
/// # Source
///
/// podman 5.4.2, observed: the caller with keep-id, `--hostuser`s, and a numeric `--user` that the image
/// does not know get a line; names that are there already stay as they are.
pub(crate) fn additions(wish: &Wish<'_>, passwd: &str, group: &str) -> (String, String) {
    let (mut users, mut groups) = (String::new(), String::new());
    let accounts = wish.accounts;
    if accounts.untouched {
        return (users, groups);
    }
    for (user, is_caller) in
        accounts.caller.iter().map(|user| (user, true)).chain(accounts.host_users.iter().map(|u| (u, false)))
    {
        if !has(passwd, &user.name, user.uid) && !has(&users, &user.name, user.uid) {
            let is_mounted = wish.mounted_homes.contains(&user.home);
            let home = if is_mounted { &user.home } else { wish.directory };
            users.push_str(&format!(
                "{}:*:{}:{}:{}:{home}:/bin/sh\n",
                user.name, user.uid, user.gid, user.gecos
            ));
        }
        if is_caller && !has(group, &user.group, user.gid) {
            groups.push_str(&format!("{}:x:{}:{}\n", user.group, user.gid, user.name));
        }
    }
    add_user_of_container(wish, (passwd, group), (&mut users, &mut groups));
    (users, groups)
}

/// A numeric user and group that the image does not know.
fn add_user_of_container(wish: &Wish<'_>, known: (&str, &str), added: (&mut String, &mut String)) {
    let accounts = wish.accounts;
    let ((passwd, group), (users, groups)) = (known, added);
    let (user, named_group) = match wish.user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (wish.user, ""),
    };
    let Ok(uid) = (if user.is_empty() { "0" } else { user }).parse::<u32>() else { return };
    if has(passwd, user, uid) || has(users, user, uid) || uid == 0 {
        return;
    }
    let gid = match (named_group, named_group.parse::<u32>()) {
        ("", _) => 0,
        (_, Ok(gid)) => gid,
        (name, Err(_)) => match number_of_group(group, name) {
            Some(gid) => gid,
            // Init says that there is no such group.
            None => return,
        },
    };
    let typed = |entry: &Option<String>| entry.clone().filter(|entry| !entry.is_empty());
    let line = match typed(&accounts.passwd_entry) {
        Some(template) => template
            .replace("$USERNAME", &uid.to_string())
            .replace("$UID", &uid.to_string())
            .replace("$GID", &gid.to_string())
            .replace("$NAME", "container user")
            .replace("$HOME", wish.directory),
        None => format!("{uid}:*:{uid}:{gid}:container user:{}:/bin/sh", wish.directory),
    };
    users.push_str(line.trim_end_matches('\n'));
    users.push('\n');
    let line = match typed(&accounts.group_entry) {
        Some(template) => template
            .replace("$GROUPNAME", &gid.to_string())
            .replace("$GID", &gid.to_string())
            .replace("$USERLIST", &uid.to_string()),
        None if group_name(group, gid).is_some() || group_name(groups, gid).is_some() => return,
        None => format!("{gid}:x:{gid}:{uid}"),
    };
    groups.push_str(line.trim_end_matches('\n'));
    groups.push('\n');
}

/// Has the file a line with this name or number?
fn has(file: &str, name: &str, number: u32) -> bool {
    file.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(name) || fields.nth(1).is_some_and(|field| field.parse() == Ok(number))
    })
}

fn number_of_group(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:33:34::/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:\n";

    fn added(accounts: &Accounts, user: &str) -> (String, String) {
        additions(
            &Wish { accounts, user, directory: "/w", mounted_homes: &["/home/ana".into()] },
            PASSWD,
            GROUP,
        )
    }

    #[test]
    fn a_number_that_the_image_does_not_know_gets_a_line() {
        let none = Accounts::default();
        for (user, passwd, group) in [
            ("", "", ""),
            ("root", "", ""),
            ("33", "", ""),
            ("1234", "1234:*:1234:0:container user:/w:/bin/sh\n", ""),
            ("1234:55", "1234:*:1234:55:container user:/w:/bin/sh\n", "55:x:55:1234\n"),
            ("1234:staff", "1234:*:1234:50:container user:/w:/bin/sh\n", ""),
            ("1234:none", "", ""),
        ] {
            assert_eq!(added(&none, user), (passwd.to_owned(), group.to_owned()), "{user}");
        }
        let entries = Accounts {
            passwd_entry: Some("$USERNAME:x:$UID:$GID:$NAME:$HOME:/bin/foo".into()),
            group_entry: Some("grp:x:$GID:$USERLIST".into()),
            ..Accounts::default()
        };
        let want = ("9:x:9:8:container user:/w:/bin/foo\n".to_owned(), "grp:x:8:9\n".to_owned());
        assert_eq!(added(&entries, "9:8"), want);
        assert_eq!(added(&Accounts { untouched: true, ..entries }, "9:8"), Default::default());
    }

    #[test]
    fn users_of_the_host() {
        let host = "ana:x:1000:100:Ana A:/home/ana:/bin/zsh\nbob:x:1001:1001::/home/bob:/bin/sh\n";
        let ana = host_user(host, "users:x:100:\n", |_, uid| uid == 1000).unwrap();
        let bob = host_user(host, "", |name, _| name == "bob").unwrap();
        assert_eq!((ana.group.as_str(), bob.group.as_str()), ("users", "1001"));
        let accounts = Accounts { caller: Some(ana), host_users: vec![bob], ..Accounts::default() };
        let (passwd, group) = added(&accounts, "1000:100");
        assert_eq!(passwd, "ana:*:1000:100:Ana A:/home/ana:/bin/sh\nbob:*:1001:1001::/w:/bin/sh\n");
        assert_eq!(group, "users:x:100:ana\n");
    }
}
