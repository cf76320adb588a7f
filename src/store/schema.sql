-- The store of users, version 1 (PRAGMA user_version). No password is kept, only the long-term keys of RFC 8489 s.9.2.2.
CREATE TABLE user (
    realm     TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    md5       BLOB    NOT NULL CHECK (length(md5) = 16),      -- MD5(name:realm:password)
    sha256    BLOB    NOT NULL CHECK (length(sha256) = 32),   -- SHA-256(name:realm:password)
    userhash  BLOB    NOT NULL CHECK (length(userhash) = 32), -- SHA-256(name:realm), RFC 8489 s.14.4
    created_s INTEGER NOT NULL,                               -- seconds since 1970
    enabled   INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    PRIMARY KEY (realm, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX user_by_hash ON user (userhash);
PRAGMA application_id = 1130461043;
PRAGMA user_version = 1;
