/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */

/*
 * Signs URLs with @google-cloud/storage: a line of JSON on standard input is a
 * case, one on standard output what the client makes of it.  Arguments: the
 * folder where the packages are, and the file of a private key in PEM.
 */

'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');

const [folder, keyFile] = process.argv.slice(2);
const { Storage } = createRequire(path.join(folder, 'x.js'))(
    '@google-cloud/storage');

const pem = fs.readFileSync(keyFile, 'utf8');
const key = crypto.createPrivateKey(pem);

const storages = new Map();
let signed;
let Signer;

/* the clock shows the time of the case, whoever asks */

let now = 0;

globalThis.Date = class extends Date {
    constructor(...args) {
        super(...(args.length ? args : [now * 1000]));
    }

    static now() {
        return now * 1000;
    }
};

const ACTIONS = { GET: 'read', PUT: 'write', DELETE: 'delete',
                  RESUMABLE: 'resumable' };


/* one client per account and endpoint; it tells what it has been signing */

async function storageOf(one) {
    const name = JSON.stringify([one.account, one.endpoint, one.universe]);
    let storage = storages.get(name);

    if (storage === undefined) {
        storage = new Storage({
            projectId: 'p',
            credentials: { client_email: one.account, private_key: pem,
                           universe_domain: one.universe },
            universeDomain: one.universe,
            ...(one.endpoint && { apiEndpoint: one.endpoint }),
        });

        /* the same key, but not parsed for each signature */

        (await storage.authClient.getClient()).key = key;

        const sign = storage.authClient.sign.bind(storage.authClient);

        storage.authClient.sign = (text, ...more) => {
            signed = text;
            return sign(text, ...more);
        };

        storages.set(name, storage);
    }

    return storage;
}


async function signedUrl(one) {
    const storage = await storageOf(one);
    const bucket = storage.bucket(one.bucket);

    const config = {
        version: 'v4',
        expires: (one.now + one.expires) * 1000,
        extensionHeaders: one.headers,
        queryParams: one.params,
        virtualHostedStyle: one.style === 'virtual',
        ...(one.cname && { cname: one.cname }),
        ...one.options,
    };

    if (one.name === null) {
        const [url] = await bucket.getSignedUrl({ ...config, action: 'list' });
        return url;
    }

    const file = bucket.file(one.name, { generation: one.generation });

    if (one.method in ACTIONS) {
        const [url] = await file.getSignedUrl(
            { ...config, action: ACTIONS[one.method] });
        return url;
    }

    /* no action stands for it, but the signer knows every method */

    if (Signer === undefined) {
        await file.getSignedUrl({ ...config, action: 'read' });
        Signer = file.signer.constructor;
    }

    return new Signer(storage.authClient, bucket, file, storage)
        .getSignedUrl({ ...config, method: one.method });
}


(async () => {
    for await (const line of readline.createInterface(
        { input: process.stdin })) {
        const one = JSON.parse(line);
        let result;

        now = one.now;

        try {
            const url = await signedUrl(one);
            result = { url, signed };

        } catch (error) {
            result = { error: String(error.message) };
        }

        process.stdout.write(JSON.stringify(result) + '\n');
    }
})();
