BEGIN TRANSACTION;
CREATE TABLE document (
    scope INTEGER NOT NULL REFERENCES scope, key TEXT NOT NULL, status TEXT NOT NULL, version TEXT, content TEXT, fingerprint TEXT NOT NULL,
    rows INTEGER NOT NULL, max_rows INTEGER NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;
INSERT INTO "document" VALUES(1,'a','done','2','d017cf13e1c9518861d06934c1b1240b','ffffffffffffffff',1,1);
INSERT INTO "document" VALUES(1,'b','partial','1','40ab981b7e3bda26a1e4b72675ce6b9e','ffffffffffffffff',1,2);
INSERT INTO "document" VALUES(1,'bad','rejected','1',NULL,'ffffffffffffffff',0,0);
INSERT INTO "document" VALUES(1,'c','writing',NULL,NULL,'ffffffffffffffff',0,2);
INSERT INTO "document" VALUES(1,'empty','empty','1','ece29eb3fa4b9dc7f9309aae5cdf7f3b','ffffffffffffffff',0,0);
INSERT INTO "document" VALUES(2,'p','done','1','21a896c9a26748f0217fe4c1c91adfd8','eeeeeeeeeeeeeeee',2,2);
CREATE TABLE fingerprint (hash TEXT PRIMARY KEY, parts TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "fingerprint" VALUES('eeeeeeeeeeeeeeee','{"parse": "x"}');
INSERT INTO "fingerprint" VALUES('ffffffffffffffff','{}');
CREATE TABLE owned (
    scope INTEGER NOT NULL REFERENCES scope, pk NOT NULL, document TEXT NOT NULL, PRIMARY KEY (scope, pk)) WITHOUT ROWID;
INSERT INTO "owned" VALUES(2,'p1','p');
INSERT INTO "owned" VALUES(2,'p2','p');
CREATE TABLE position (
    scope INTEGER NOT NULL REFERENCES scope, partition TEXT NOT NULL, position TEXT NOT NULL, PRIMARY KEY (scope, partition)) WITHOUT ROWID;
INSERT INTO "position" VALUES(2,'','1');
CREATE TABLE reject (
    scope INTEGER NOT NULL REFERENCES scope, document TEXT NOT NULL, ordinal INTEGER NOT NULL, station TEXT NOT NULL, reason TEXT NOT NULL,
    attempts INTEGER NOT NULL, run TEXT NOT NULL, PRIMARY KEY (scope, document, ordinal)) WITHOUT ROWID;
INSERT INTO "reject" VALUES(1,'b',1,'conform','field `text`: 126 bytes of UTF-8, but max_length is 20',1,'run-0');
INSERT INTO "reject" VALUES(1,'bad',-1,'read','it is torn',1,'run-0');
CREATE TABLE run (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, scope INTEGER NOT NULL REFERENCES scope, started REAL NOT NULL, finished REAL,
    pid INTEGER NOT NULL, host TEXT NOT NULL, exit_code INTEGER, report TEXT);
INSERT INTO "run" VALUES(1,'run-0',1,1.5,2.5,1,'host',0,'{}');
INSERT INTO "run" VALUES(2,'run-1',1,1.5,2.5,1,'host',0,'{}');
INSERT INTO "run" VALUES(3,'run-2',1,1.5,NULL,1,'host',NULL,NULL);
INSERT INTO "run" VALUES(4,'run-of-people',2,1.5,2.5,1,'host',0,'{"run_id":"run-of-people","job":"people","collection":"","exit_code":0,"message":"","counts":{"listed":1,"unchanged":0,"written":1,"empty":0,"rejected":0,"deferred":0,"deleted":0},"rows":{"upserted":2,"deleted":0,"rejected":0},"encoded":0,"truncated":0,"gaps":[],"unnamed":0,"rejects":[],"seconds":0.0,"startup_s":0.0,"index":{},"stations":{}}');
CREATE TABLE scope (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, uid TEXT NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, source TEXT NOT NULL DEFAULT '',
    UNIQUE (namespace, uid));
INSERT INTO "scope" VALUES(1,'job','uid',0,'');
INSERT INTO "scope" VALUES(2,'people','uid2',3,'s');
CREATE INDEX owned_document ON owned (scope, document);
COMMIT;
PRAGMA user_version = 1;
