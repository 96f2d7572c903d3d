
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "ngx_gcs_object.h"


#define FUZZ_LONG  8192


static void fuzz_long(ngx_pool_t *pool, ngx_str_t *text);
static void fuzz_url(ngx_str_t *url);
static void fuzz_path(ngx_pool_t *pool, ngx_str_t *raw);
static ngx_uint_t fuzz_has_dots(ngx_str_t *path);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_str_t    text;
    ngx_pool_t  *pool;

    pool = test_pool();
    text = test_bytes(pool, data, size);

    fuzz_url(&text);
    fuzz_path(pool, &text);

    /* it takes as long as many short ones: only where it is asked for */

    if (size > 1 && data[0] == '*') {
        text.data++;
        text.len--;

        fuzz_long(pool, &text);
    }

    ngx_destroy_pool(pool);

    return 0;
}


/*
 * The same as what an application may send in a redirect: 8 to 16 KiB of the
 * text over and over, as a whole URL and as the name in one.  So an input of
 * the corpus may be small, and the fuzzer need not find the length by itself.
 */

static void
fuzz_long(ngx_pool_t *pool, ngx_str_t *text)
{
    size_t            i, size;
    uint32_t          hash;
    ngx_str_t         url;
    ngx_gcs_object_t  object;

    static const char  prefix[] = "gs://b.c-d_e/";

    hash = 2166136261;

    for (i = 0; i < text->len; i++) {
        hash = (hash ^ text->data[i]) * 16777619;
    }

    size = FUZZ_LONG + hash % (FUZZ_LONG + 1);

    url.data = ngx_pnalloc(pool, size);
    url.len = size;

    for (i = 0; i < size; i++) {
        url.data[i] = text->data[i % text->len];
    }

    fuzz_url(&url);
    fuzz_path(pool, &url);

    for (i = 0; i < size; i++) {
        url.data[i] = (i < sizeof(prefix) - 1)
                      ? (u_char) prefix[i]
                      : text->data[(i - (sizeof(prefix) - 1)) % text->len];
    }

    fuzz_url(&url);

    fuzz_check(ngx_gcs_object_parse_url(&url, &object) == NULL);
    fuzz_check(object.name.len == size - (sizeof(prefix) - 1));
    fuzz_check(ngx_gcs_object_check(&object.name) != NULL);

    /* and as the rest of a request's path */

    fuzz_path(pool, &object.name);
}


static void
fuzz_url(ngx_str_t *url)
{
    u_char            *last;
    ngx_gcs_object_t   object;

    if (ngx_gcs_object_parse_url(url, &object) != NULL) {
        return;
    }

    last = object.name.data + object.name.len;

    fuzz_check(last == url->data + url->len);
    fuzz_check(object.bucket.data == url->data + 5);
    fuzz_check(object.bucket.len >= 3 && object.bucket.len <= 222);
    fuzz_check(memchr(object.bucket.data, '/', object.bucket.len) == NULL);

    /* gs://BUCKET or gs://BUCKET/NAME: not a byte is lost */

    fuzz_check(object.name.data == object.bucket.data + object.bucket.len + 1
               || (object.name.len == 0
                   && object.name.data
                      == object.bucket.data + object.bucket.len));

    (void) ngx_gcs_object_check(&object.name);
}


static void
fuzz_path(ngx_pool_t *pool, ngx_str_t *raw)
{
    char       *reason;
    size_t      i, n;
    ngx_int_t   rc;
    ngx_str_t   path, merged;

    reason = NULL;
    rc = ngx_gcs_object_decode_path(pool, raw, &path, &reason);

    if (rc != NGX_OK) {
        fuzz_check(rc == NGX_DECLINED && reason != NULL);
        return;
    }

    fuzz_check(path.len <= raw->len);
    fuzz_check(!fuzz_has_dots(&path));

    if (ngx_gcs_object_check(&path) == NULL) {
        fuzz_check(path.len <= NGX_GCS_OBJECT_MAX);
        fuzz_check(memchr(path.data, '\0', path.len) == NULL);
        fuzz_check(memchr(path.data, '\r', path.len) == NULL);
        fuzz_check(memchr(path.data, '\n', path.len) == NULL);
    }

    merged.data = ngx_pnalloc(pool, path.len);
    n = 0;

    for (i = 0; i < path.len; i++) {
        if (path.data[i] != '/' || n == 0 || merged.data[n - 1] != '/') {
            merged.data[n++] = path.data[i];
        }
    }

    merged.len = n;

    fuzz_check(ngx_gcs_object_same_path(&path, &merged));

    if (n) {
        merged.data[n - 1] ^= 1;
        fuzz_check(!ngx_gcs_object_same_path(&path, &merged));

        merged.data[n - 1] ^= 1;
        merged.len--;
        fuzz_check(!ngx_gcs_object_same_path(&path, &merged));
    }
}


/* another statement of the rule: between slashes there are no dots alone */

static ngx_uint_t
fuzz_has_dots(ngx_str_t *path)
{
    char        *text;
    ngx_uint_t   found;

    text = malloc(path->len + 3);

    text[0] = '/';
    memcpy(text + 1, path->data, path->len);
    text[path->len + 1] = '/';

    found = memmem(text, path->len + 2, "/./", 3) != NULL
            || memmem(text, path->len + 2, "/../", 4) != NULL;

    free(text);

    return found;
}
