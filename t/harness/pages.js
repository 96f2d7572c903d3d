/*
 * What pages do with what another origin serves.  Each function resolves to
 * what the page could see of it, and rejects if the browser kept it away.
 * harness/browser.py puts them into every page and calls them.
 */

"use strict";

globalThis.pages = (() => {

    /* resolves with the element when it has loaded */
    function loaded(element, event = "load") {
        return new Promise((resolve, reject) => {
            element.addEventListener(event, () => resolve(element),
                                     {once: true});
            element.addEventListener("error", () => reject(
                new Error(`<${element.localName}> does not load`)),
                {once: true});
        });
    }

    function make(name, attributes = {}) {
        const element = document.createElement(name);
        for (const [key, value] of Object.entries(attributes)) {
            element.setAttribute(key, value);
        }
        return element;
    }

    /* loads it in the document */
    function put(element) {
        const done = loaded(element);
        document.body.append(element);
        return done;
    }

    /* the colour in the middle; throws for what may not be read back */
    function colour(source, width, height) {
        const canvas = make("canvas", {width, height});
        const context = canvas.getContext("2d");
        context.drawImage(source, 0, 0);
        const middle = context.getImageData(width >> 1, height >> 1, 1, 1);
        return [...middle.data.slice(0, 3)];
    }

    async function answer(response) {
        return {
            status: response.status,
            text: await response.text(),
            redirected: response.redirected,
            headers: Object.fromEntries(response.headers),
        };
    }

    async function opened(name, url, attributes) {
        const media = make(name, {preload: "auto", ...attributes});
        const done = loaded(media, "loadeddata");
        media.src = url;
        document.body.append(media);
        return done;
    }

    async function seek(media, to) {
        const done = loaded(media, "seeked");
        media.currentTime = to;
        await done;
    }

    function pause(milliseconds) {
        return new Promise(resolve => setTimeout(resolve, milliseconds));
    }

    async function middle(media) {
        await seek(media, media.duration / 2 + 0.5);
        return {duration: Math.round(media.duration),
                at: media.currentTime, ready: media.readyState,
                seekable: Math.round(media.seekable.end(0))};
    }

    return {
        async fetch(url, options) {
            return answer(await fetch(url, options));
        },

        async xhr(url, {headers = {}, credentials = false} = {}) {
            const request = new XMLHttpRequest();
            request.open("GET", url);
            request.responseType = "blob";
            request.withCredentials = credentials;
            for (const [key, value] of Object.entries(headers)) {
                request.setRequestHeader(key, value);
            }
            const done = loaded(request);
            request.send();
            await done;
            return {status: request.status, type: request.response.type,
                    text: await request.response.text()};
        },

        /* a document whose origin is nobody's: "null" */
        async sandbox() {
            await put(make("iframe", {sandbox: "allow-scripts",
                                      srcdoc: "<!doctype html>"}));
        },

        /* only shown */
        async image(url, attributes) {
            const image = make("img", attributes);
            image.src = url;
            await put(image);
            return [image.naturalWidth, image.naturalHeight];
        },

        /* shown, and read back */
        async pixels(url, attributes) {
            const image = make("img", attributes);
            image.src = url;
            await put(image);
            return colour(image, image.naturalWidth, image.naturalHeight);
        },

        async audio(url, attributes) {
            return middle(await opened("audio", url, attributes));
        },

        async video(url, attributes) {
            return middle(await opened("video", url, attributes));
        },

        /* the colours of its beginning and of its middle */
        async frames(url, attributes) {
            const video = await opened("video", url, attributes);
            const size = [video.videoWidth, video.videoHeight];
            const first = colour(video, ...size);
            await middle(video);

            /* it has been sought when the frame is decoded, which is some
               time before it can be drawn */
            let second = first;
            while (String(second) === String(first)) {
                await pause(20);
                second = colour(video, ...size);
            }
            return [first, second];
        },

        /* has played for some time */
        async plays(url, attributes) {
            const video = await opened("video", url,
                                       {muted: "", ...attributes});
            const from = video.currentTime;
            await video.play();
            while (video.currentTime < from + 0.2) {
                await loaded(video, "timeupdate");
            }
            return video.readyState;
        },

        async captions(url, crossorigin) {
            const media = make("video", crossorigin ? {crossorigin} : {});
            const track = make("track", {kind: "captions", default: ""});
            track.src = url;
            const done = loaded(track);
            media.append(track);
            document.body.append(media);
            track.track.mode = "hidden";
            await done;
            return [...track.track.cues].map(cue => cue.text);
        },

        /* the script says hello() */
        async script(url, attributes) {
            let said = null;
            window.hello = what => { said = what; };
            const script = make("script", attributes);
            script.src = url;
            await put(script);
            return said;
        },

        async imported(url) {
            return (await import(url)).answer;
        },

        /* the rules of a style sheet can be read */
        async stylesheet(url, attributes) {
            const link = make("link", {rel: "stylesheet", ...attributes});
            link.href = url;
            await put(link);
            return link.sheet.cssRules[0].selectorText;
        },

        /* how wide an "A" of 100 pixels is */
        async font(url) {
            const style = make("style");
            style.textContent = `@font-face { font-family: wide;
                                              src: url("${url}"); }`;
            document.head.append(style);
            const [face] = await document.fonts.load("100px wide", "A");
            const context = make("canvas").getContext("2d");
            context.font = "100px wide";
            return [face.status,
                    Math.round(context.measureText("A").width)];
        },

        /* a worker of this origin that imports a module of the other: one
           whose own file is elsewhere is refused whatever the headers say */
        async worker(url) {
            const own = URL.createObjectURL(new Blob(
                [`import {answer} from "${url}"; postMessage(answer);`],
                {type: "text/javascript"}));
            const worker = new Worker(own, {type: "module"});
            return new Promise((resolve, reject) => {
                worker.onmessage = event => resolve(event.data);
                worker.onerror = () => reject(
                    new Error("the worker fails"));
            }).finally(() => worker.terminate());
        },

        async foreign_worker(url) {
            new Worker(url, {type: "module"});
        },

        /* a document of the other origin; only a screenshot tells whether
           it is there, since a page may not look into it */
        async embedded(url, attributes) {
            const element = make("embed", {width: 200, height: 200,
                                           ...attributes});
            element.src = url;
            document.querySelector("embed")?.remove();
            await put(element);
        },

        /* whether the browser tells how much it has received, and when */
        async timing(url) {
            await (await fetch(url)).arrayBuffer();
            const [entry] = performance.getEntriesByName(url);
            return entry.transferSize > 0 && entry.responseStart > 0;
        },

        /* the upload of a file by what "gcs_presign_answer json" says */
        async upload(ask, text) {
            const to = await (await fetch(ask)).json();
            return answer(await fetch(to.url, {
                method: to.method, headers: to.headers,
                body: new Blob([text])}));
        },
    };
})();
