use super::*;

/// Whether somebody answers there.
async fn is_alive(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn only_the_user_may_connect_and_the_file_leaves_with_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let socket = Socket::bind(&path).await.unwrap();
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, accepted) = tokio::join!(UnixStream::connect(&path), next(Some(&socket)));
    drop(accepted);
    assert_eq!(names(&folder), ["socket"]);
    drop(socket);
    assert_eq!(names(&folder), [""; 0]);
}

#[tokio::test]
async fn what_a_dead_process_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    // A process with our number that died between two steps left this.
    drop(UnixListener::bind(hidden(&path).unwrap()).unwrap());
    assert!(!is_alive(&path).await);
    let _socket = Socket::bind(&path).await.unwrap();
    assert!(is_alive(&path).await);
    assert_eq!(names(&folder), ["socket"]);
}

#[tokio::test]
async fn what_lives_and_what_is_no_socket_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (living, file, link) = ["living", "file", "link"]
        .map(|name| folder.path().join(name))
        .into();
    let _holder = UnixListener::bind(&living).unwrap();
    fs::write(&file, "precious").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for (path, kind) in [
        (living.clone(), io::ErrorKind::AddrInUse),
        (file.clone(), io::ErrorKind::AlreadyExists),
        (link, io::ErrorKind::AlreadyExists),
        (folder.path().to_owned(), io::ErrorKind::AlreadyExists),
        (folder.path().join("no/folder"), io::ErrorKind::NotFound),
        (
            folder.path().join("x".repeat(120)),
            io::ErrorKind::InvalidInput,
        ),
    ] {
        let error = Socket::bind(&path).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error}", path.display());
    }
    assert!(is_alive(&living).await);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(names(&folder).len(), 3);
}

#[tokio::test]
async fn the_file_of_a_successor_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let first = Socket::bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _second = Socket::bind(&path).await.unwrap();
    drop(first);
    assert!(is_alive(&path).await);
}
