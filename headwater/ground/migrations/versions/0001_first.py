"""The first schema, as it was. Frozen: a change of a table is another step, and a test compares the two."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE blob (
        sha256 TEXT NOT NULL,
        size BIGINT NOT NULL,
        recipe BLOB,
        xet_hash TEXT,
        state TEXT DEFAULT 'whole' NOT NULL,
        created_ms BIGINT NOT NULL,
        PRIMARY KEY (sha256)
    )
    """,
    """
    CREATE INDEX blob_xet_hash ON blob (xet_hash)
    """,
    """
    CREATE TABLE event (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        repo_id INTEGER,
        actor_id INTEGER,
        data TEXT NOT NULL,
        at_ms BIGINT NOT NULL
    )
    """,
    """
    CREATE INDEX event_repo ON event (repo_id, id)
    """,
    """
    CREATE TABLE event_position (
        follower TEXT NOT NULL,
        event_id INTEGER NOT NULL,
        PRIMARY KEY (follower)
    )
    """,
    """
    CREATE TABLE intent (
        id INTEGER NOT NULL,
        repo_id INTEGER NOT NULL,
        ref TEXT NOT NULL,
        old TEXT,
        new TEXT,
        kind TEXT NOT NULL,
        actor_id INTEGER,
        data TEXT NOT NULL,
        at_ms BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE job (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        "key" TEXT NOT NULL,
        payload TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        since_ms BIGINT NOT NULL,
        until_ms BIGINT NOT NULL,
        holder TEXT DEFAULT '' NOT NULL,
        error TEXT
    )
    """,
    """
    CREATE INDEX job_state ON job (state, until_ms)
    """,
    """
    CREATE UNIQUE INDEX job_waiting ON job (kind, "key") WHERE state = 'waiting'
    """,
    """
    CREATE TABLE namespace (
        id INTEGER NOT NULL,
        name TEXT NOT NULL,
        "key" TEXT NOT NULL,
        skeleton TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT DEFAULT 'live' NOT NULL,
        moved_to INTEGER,
        created_ms BIGINT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE ("key"),
        FOREIGN KEY(moved_to) REFERENCES namespace (id)
    )
    """,
    """
    CREATE INDEX namespace_skeleton ON namespace (skeleton)
    """,
    """
    CREATE TABLE posting (
        id INTEGER NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE tag (
        id INTEGER NOT NULL,
        type TEXT NOT NULL,
        "key" TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT tag_type_key UNIQUE (type, "key")
    )
    """,
    """
    CREATE INDEX tag_count ON tag (type, count)
    """,
    """
    CREATE TABLE upload (
        id TEXT NOT NULL,
        scope TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size BIGINT NOT NULL,
        part_size INTEGER NOT NULL,
        created_ms BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE xorb (
        hash TEXT NOT NULL,
        raw_bytes BIGINT NOT NULL,
        hashes BLOB NOT NULL,
        lengths BLOB NOT NULL,
        state TEXT DEFAULT 'here' NOT NULL,
        offered_ms BIGINT NOT NULL,
        PRIMARY KEY (hash)
    )
    """,
    """
    CREATE TABLE blob_xorb (
        sha256 TEXT NOT NULL,
        xorb TEXT NOT NULL,
        PRIMARY KEY (sha256, xorb),
        FOREIGN KEY(sha256) REFERENCES blob (sha256),
        FOREIGN KEY(xorb) REFERENCES xorb (hash)
    )
    """,
    """
    CREATE INDEX blob_xorb_xorb ON blob_xorb (xorb)
    """,
    """
    CREATE TABLE dedup (
        chunk BLOB NOT NULL,
        xorb TEXT NOT NULL,
        PRIMARY KEY (chunk, xorb),
        FOREIGN KEY(xorb) REFERENCES xorb (hash)
    )
    """,
    """
    CREATE TABLE org (
        id INTEGER NOT NULL,
        fullname TEXT DEFAULT '' NOT NULL,
        default_visibility TEXT DEFAULT 'public' NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(id) REFERENCES namespace (id)
    )
    """,
    """
    CREATE TABLE user_account (
        id INTEGER NOT NULL,
        fullname TEXT DEFAULT '' NOT NULL,
        email TEXT DEFAULT '' NOT NULL,
        password_hash TEXT,
        is_admin BOOLEAN DEFAULT 0 NOT NULL,
        disabled BOOLEAN DEFAULT 0 NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(id) REFERENCES namespace (id)
    )
    """,
    """
    CREATE TABLE member (
        org_id INTEGER NOT NULL,
        user_id INTEGER NOT NULL,
        role TEXT NOT NULL,
        PRIMARY KEY (org_id, user_id),
        FOREIGN KEY(org_id) REFERENCES org (id),
        FOREIGN KEY(user_id) REFERENCES user_account (id)
    )
    """,
    """
    CREATE INDEX member_user ON member (user_id)
    """,
    """
    CREATE TABLE repo (
        id INTEGER NOT NULL,
        type TEXT NOT NULL,
        namespace_id INTEGER,
        namespace TEXT,
        name TEXT NOT NULL,
        "key" TEXT NOT NULL,
        private BOOLEAN NOT NULL,
        gated TEXT,
        disabled BOOLEAN DEFAULT 0 NOT NULL,
        sdk TEXT,
        creator_id INTEGER,
        created_ms BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL,
        state TEXT DEFAULT 'live' NOT NULL,
        PRIMARY KEY (id),
        CONSTRAINT repo_type_key UNIQUE (type, "key"),
        FOREIGN KEY(namespace_id) REFERENCES namespace (id),
        FOREIGN KEY(creator_id) REFERENCES user_account (id)
    )
    """,
    """
    CREATE INDEX repo_namespace ON repo (namespace_id)
    """,
    """
    CREATE TABLE session (
        hash TEXT NOT NULL,
        user_id INTEGER NOT NULL,
        csrf TEXT NOT NULL,
        created_ms BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL,
        PRIMARY KEY (hash),
        FOREIGN KEY(user_id) REFERENCES user_account (id)
    )
    """,
    """
    CREATE TABLE signin_link (
        hash TEXT NOT NULL,
        user_id INTEGER NOT NULL,
        expires_ms BIGINT NOT NULL,
        used_ms BIGINT,
        PRIMARY KEY (hash),
        FOREIGN KEY(user_id) REFERENCES user_account (id)
    )
    """,
    """
    CREATE TABLE token (
        id INTEGER NOT NULL,
        user_id INTEGER NOT NULL,
        name TEXT NOT NULL,
        hash TEXT NOT NULL,
        hint TEXT NOT NULL,
        role TEXT NOT NULL,
        created_ms BIGINT NOT NULL,
        expires_ms BIGINT,
        revoked_ms BIGINT,
        used_ms BIGINT,
        PRIMARY KEY (id),
        UNIQUE (user_id, name),
        FOREIGN KEY(user_id) REFERENCES user_account (id),
        UNIQUE (hash)
    )
    """,
    """
    CREATE TABLE catalog (
        repo_id INTEGER NOT NULL,
        sha TEXT NOT NULL,
        library_name TEXT,
        pipeline_tag TEXT,
        used_storage BIGINT NOT NULL,
        tags TEXT NOT NULL,
        safetensors TEXT,
        config TEXT,
        tag_ids TEXT NOT NULL,
        weights TEXT,
        gguf TEXT,
        card TEXT NOT NULL,
        PRIMARY KEY (repo_id),
        FOREIGN KEY(repo_id) REFERENCES repo (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE download (
        repo_id INTEGER NOT NULL,
        day INTEGER NOT NULL,
        count INTEGER NOT NULL,
        clients INTEGER NOT NULL,
        PRIMARY KEY (repo_id, day),
        FOREIGN KEY(repo_id) REFERENCES repo (id) ON DELETE CASCADE
    )
     WITHOUT ROWID
    """,
    """
    CREATE INDEX download_day ON download (day)
    """,
    """
    CREATE TABLE hold (
        repo_id INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        path TEXT DEFAULT '' NOT NULL,
        committed BOOLEAN NOT NULL,
        held_ms BIGINT NOT NULL,
        PRIMARY KEY (repo_id, sha256),
        FOREIGN KEY(repo_id) REFERENCES repo (id),
        FOREIGN KEY(sha256) REFERENCES blob (sha256)
    )
    """,
    """
    CREATE INDEX hold_pending ON hold (held_ms) WHERE committed = 0
    """,
    """
    CREATE INDEX hold_sha256 ON hold (sha256)
    """,
    """
    CREATE TABLE old_name (
        type TEXT NOT NULL,
        "key" TEXT NOT NULL,
        repo_id INTEGER,
        namespace_id INTEGER,
        at_ms BIGINT NOT NULL,
        PRIMARY KEY (type, "key"),
        FOREIGN KEY(repo_id) REFERENCES repo (id),
        FOREIGN KEY(namespace_id) REFERENCES namespace (id)
    )
    """,
    """
    CREATE TABLE repo_like (
        user_id INTEGER NOT NULL,
        repo_id INTEGER NOT NULL,
        at_ms BIGINT NOT NULL,
        PRIMARY KEY (user_id, repo_id),
        FOREIGN KEY(user_id) REFERENCES user_account (id),
        FOREIGN KEY(repo_id) REFERENCES repo (id)
    )
    """,
    """
    CREATE INDEX repo_like_repo ON repo_like (repo_id)
    """,
    """
    CREATE TABLE standing (
        repo_id INTEGER NOT NULL,
        type TEXT NOT NULL,
        created_ms BIGINT NOT NULL,
        modified_ms BIGINT NOT NULL,
        downloads INTEGER DEFAULT 0 NOT NULL,
        downloads_all INTEGER DEFAULT 0 NOT NULL,
        likes INTEGER DEFAULT 0 NOT NULL,
        trending FLOAT DEFAULT 0 NOT NULL,
        parameters BIGINT,
        PRIMARY KEY (repo_id),
        FOREIGN KEY(repo_id) REFERENCES repo (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE INDEX standing_created ON standing (type, created_ms, repo_id)
    """,
    """
    CREATE INDEX standing_downloads ON standing (type, downloads, repo_id)
    """,
    """
    CREATE INDEX standing_likes ON standing (type, likes, repo_id)
    """,
    """
    CREATE INDEX standing_modified ON standing (type, modified_ms, repo_id)
    """,
    """
    CREATE INDEX standing_parameters ON standing (type, parameters, repo_id)
    """,
    """
    CREATE INDEX standing_trending ON standing (type, trending, repo_id)
    """,
    """
    CREATE TABLE xorb_hold (
        repo_id INTEGER NOT NULL,
        xorb TEXT NOT NULL,
        held_ms BIGINT NOT NULL,
        PRIMARY KEY (repo_id, xorb),
        FOREIGN KEY(repo_id) REFERENCES repo (id),
        FOREIGN KEY(xorb) REFERENCES xorb (hash)
    )
    """,
    """
    CREATE INDEX xorb_hold_xorb ON xorb_hold (xorb)
    """,
    """
    CREATE VIRTUAL TABLE catalog_search USING fts5(name, starts, tokenize='trigram', columnsize=0)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
