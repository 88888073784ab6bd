-- A store of schema version 8: the tables as the first program of that version made them, and rows that can be worked out by hand.
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE collection (
    id INTEGER PRIMARY KEY, profile TEXT NOT NULL UNIQUE, model TEXT NOT NULL, dim INTEGER NOT NULL,
    used INTEGER NOT NULL, pool_factor INTEGER NOT NULL DEFAULT 1, precision TEXT NOT NULL DEFAULT 'f16',
    first_stage INTEGER NOT NULL DEFAULT 1, text_precision TEXT NOT NULL DEFAULT '1-bit'
) STRICT;
CREATE TABLE manual (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collection (id), name TEXT NOT NULL,
    path TEXT NOT NULL, file TEXT NOT NULL, render TEXT NOT NULL, pages INTEGER NOT NULL,
    last_run TEXT,
    UNIQUE (collection, name)
) STRICT;
CREATE TABLE page (
    id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, manual INTEGER NOT NULL REFERENCES manual (id),
    number INTEGER NOT NULL, origin TEXT NOT NULL, content TEXT NOT NULL, blank INTEGER NOT NULL,
    rows INTEGER NOT NULL, label TEXT, section TEXT, text TEXT NOT NULL, description TEXT,
    said TEXT NOT NULL DEFAULT '',
    UNIQUE (manual, number)
) STRICT;
CREATE TABLE vectors (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, grid_columns INTEGER NOT NULL,
    grid_rows INTEGER NOT NULL, places BLOB NOT NULL, rows BLOB NOT NULL
) STRICT;
CREATE TABLE first_stage (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, rows BLOB NOT NULL
) STRICT;
CREATE TABLE thumbnail (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, jpeg BLOB NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'page', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE INDEX page_uuid ON page (uuid);
CREATE TRIGGER page_comes AFTER INSERT ON page BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER page_goes AFTER DELETE ON page BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER page_changes AFTER UPDATE OF text ON page WHEN old.text <> new.text BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE VIRTUAL TABLE descriptions USING fts5 (
    said, content = 'page', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER said_comes AFTER INSERT ON page BEGIN
    INSERT INTO descriptions (rowid, said) VALUES (new.id, new.said);
END;
CREATE TRIGGER said_goes AFTER DELETE ON page BEGIN
    INSERT INTO descriptions (descriptions, rowid, said) VALUES ('delete', old.id, old.said);
END;
CREATE TRIGGER said_changes AFTER UPDATE OF said ON page WHEN old.said <> new.said BEGIN
    INSERT INTO descriptions (descriptions, rowid, said) VALUES ('delete', old.id, old.said);
    INSERT INTO descriptions (rowid, said) VALUES (new.id, new.said);
END;
CREATE VIRTUAL TABLE variants USING fts5 (
    text, description, content = '', contentless_delete = 1, tokenize = 'porter ascii'
);
CREATE TRIGGER variants_go AFTER DELETE ON page BEGIN
    DELETE FROM variants WHERE rowid = old.id;
END;
CREATE TABLE text_vectors (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, digest TEXT NOT NULL, tokens BLOB NOT NULL,
    rows BLOB NOT NULL, words_read TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TRIGGER text_vectors_go AFTER UPDATE OF text ON page WHEN old.text <> new.text BEGIN
    DELETE FROM text_vectors WHERE page = new.id;
END;
INSERT INTO collection (id, profile, model, dim, used, pool_factor, precision, first_stage) VALUES
    (1, 'p2', 'tiny', 2, 9, 1, 'f16', 1),
    (2, 'p8-pool3', 'small', 8, 2, 3, 'int8', 2),
    (3, 'p9', 'bits', 9, 3, 1, '1-bit', 1);
INSERT INTO manual (id, collection, name, path, file, render, pages, last_run) VALUES
    (1, 1, 'pump.pdf', '/shelf/pump.pdf', 'f11e', 'pdfium-8149 150 dpi, at most 16 MP', 40, '{"ended":1790000000,"seconds":{"render":0.5,"prepare":0.25,"embed":3.0,"store":0.125},"pages_per_second":0.5,"stored":2,"failed":1,"failures":[{"page":3,"reason":"it cannot be drawn"}]}'),
    (2, 1, 'Anleitung/wärmepumpe.pdf', '/shelf/wärmepumpe.pdf', 'f22e', 'picture', 3, NULL),
    (3, 2, 'pump.pdf', '/shelf/pump.pdf', 'f11e', 'picture', 40, NULL),
    (4, 3, 'pump.pdf', '/shelf/pump.pdf', 'f11e', 'picture', 40, NULL);
INSERT INTO page (id, uuid, manual, number, origin, content, blank, rows, label, section, text, description, said) VALUES
    (1, x'8f2b6657bac458dba826877b9d3847df', 1, 1, 'o1', 'c1', 0, 2, 'i', '1 Faults', 'E-104: the pump is blocked.', '{"model":"qwen","described":{"rotation":0,"legible":true,"title":"Gearbox","summary":"An exploded view.","topics":["spare parts"],"figures":[{"label":"Fig. 1","says":"the shaft"}],"tables":[{"label":"","columns":["Pos."],"says":""}],"identifiers":[{"text":"K-77","confirmed":true}],"language":"en"}}', 'Gearbox
An exploded view.
spare parts
Fig. 1
the shaft
Pos.
K-77'),
    (2, x'a8c76708299b549a93052059c2a17f32', 1, 7, 'o1', 'c7', 0, 1, NULL, NULL, 'Reset the alarm.', '{"model":"qwen","failed":{"class":"repetition","why":"it said the same again"}}', ''),
    (3, x'd99d8a0b36295c91a0fff222576b72bb', 2, 3, 'o2', 'c3', 1, 1, 'iii', '2 Störungen', '', NULL, ''),
    (4, x'8f2b6657bac458dba826877b9d3847df', 3, 1, 'o3', 'c1', 0, 2, NULL, NULL, 'pooled', NULL, ''),
    (5, x'8f2b6657bac458dba826877b9d3847df', 4, 1, 'o4', 'c1', 0, 1, NULL, NULL, 'signs', NULL, '');
INSERT INTO variants (rowid, text, description) VALUES (1, 'e104', 'k77'), (2, '', ''), (3, 'pump', ''), (4, '', ''), (5, '', '');
INSERT INTO vectors (page, grid_columns, grid_rows, places, rows) VALUES
    (1, 2, 1, x'ffff0100', x'003c00000000003c'),
    (2, 3, 4, x'0b00', x'cd38663a'),
    (3, 1, 1, x'0000', x'0000003c'),
    (4, 2, 2, x'03000000', x'7f00000000000000082000810000000000000820'),
    (5, 1, 1, x'0000', x'0501');
INSERT INTO first_stage (page, rows) VALUES (4, x'7f000000000000000820');
INSERT INTO thumbnail (page, jpeg) VALUES (1, x'ffd8'), (2, x'ffd9'), (3, x''), (4, x'ffda'), (5, x'ffdb');
INSERT INTO text_vectors (page, digest, tokens, rows, words_read) VALUES
    (1, 'm:d1', x'6400c800', x'ff0f', ''), (2, 'm:d7', x'', x'', ''), (3, 'm:d3', x'6400', x'ff', 'pump');
PRAGMA application_id = 1768843123;
PRAGMA user_version = 8;
COMMIT;
