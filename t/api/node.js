/*
 * Google's Node library, one operation for each line that is read.
 *
 * node node.js PACKAGES URL [env]: PACKAGES has node_modules; with "env" it
 * finds URL by STORAGE_EMULATOR_HOST, else it is told so.
 */

"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const { Readable } = require("stream");
const { pipeline } = require("stream/promises");

const [packages, url, how] = process.argv.slice(2);
const { Storage } = require(
    path.join(packages, "node_modules", "@google-cloud", "storage"));

const options = { projectId: "p", retryOptions: { maxRetries: 3 } };

if (how === "env") {
    process.env.STORAGE_EMULATOR_HOST = url;
} else {
    options.apiEndpoint = url;
}

const storage = new Storage(options);
const file = (bucket, name, more) => storage.bucket(bucket).file(name, more);

async function read(stream) {
    const parts = [];

    for await (const part of stream) {
        parts.push(part);
    }

    return Buffer.concat(parts).toString("base64");
}

const bytes = (size) => Buffer.alloc(size, "0123456789");

function* pieces(size) {
    for (let at = 0; at < size; at += 1 << 16) {
        yield bytes(Math.min(1 << 16, size - at));
    }
}

const operations = {
    bucket: async (b) => (await storage.bucket(b).get())[0].metadata.location,
    exists: async (b, n) => (await file(b, n).exists())[0],
    list: async (b, query) => {
        const [files, , answer] = await storage.bucket(b).getFiles(query);
        return [files.map((f) => f.name), answer && answer.prefixes];
    },
    metadata: async (b, n) => (await file(b, n).getMetadata())[0],
    download: async (b, n) =>
        (await file(b, n).download())[0].toString("base64"),
    range: async (b, n, start, end) =>
        read(file(b, n).createReadStream({ start, end })),
    toFile: async (b, n, destination) => {
        await file(b, n).download({ destination });
    },
    save: async (b, n, size, more) => {
        await file(b, n).save(bytes(size), more);
    },
    upload: async (b, source, destination, more) => {
        await storage.bucket(b).upload(source, { destination, ...more });
    },
    stream: async (b, n, size, more) => pipeline(
        Readable.from(pieces(size)), file(b, n).createWriteStream(more)),
    session: async (b, n) => (await file(b, n).createResumableUpload())[0],
    setMetadata: async (b, n, metadata) =>
        (await file(b, n).setMetadata(metadata))[0].metageneration,
    copy: async (b, n, b2, n2) =>
        (await file(b, n).copy(file(b2, n2)))[0].name,
    move: async (b, n, n2) => (await file(b, n).moveFileAtomic(n2))[0].name,
    rename: async (b, n, n2) => (await file(b, n).rename(n2))[0].name,
    combine: async (b, names, n) =>
        (await storage.bucket(b).combine(names, n))[0].name,
    delete: async (b, n, more) => (await file(b, n, more).delete())[0]
        .statusCode,
    deleteFiles: async (b, query) => storage.bucket(b).deleteFiles(query),
    permissions: async (b, names) =>
        (await storage.bucket(b).iam.testPermissions(names))[0],
    buckets: async () => (await storage.getBuckets())[0].length,
    createBucket: async (b) => (await storage.createBucket(b))[0].name,
    makePublic: async (b, n) => file(b, n).makePublic(),
    policy: async (b) => storage.bucket(b).iam.getPolicy(),
};

/* Errors of sessions have Google's words in the answer only. */
function told(error) {
    const answer = error.response || {};
    const words = ((answer.data || {}).error || {}).message || "";

    return { error: `${error.message || error} ${words}`,
             code: Number(error.code) || answer.status || null };
}

(async () => {
    for await (const line of readline.createInterface(
        { input: process.stdin }))
    {
        const [operation, ...words] = JSON.parse(line);
        let answer;

        try {
            answer = { ok: await operations[operation](...words) };

        } catch (error) {
            answer = told(error);
        }

        if (answer.ok === undefined && answer.error === undefined) {
            answer.ok = null;
        }

        fs.writeSync(1, JSON.stringify(answer) + "\n");
    }

    process.exit(0);
})();
