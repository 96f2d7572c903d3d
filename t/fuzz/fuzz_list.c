
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "ngx_gcs_list.h"


static u_char *fuzz_read(ngx_pool_t *pool, const uint8_t *data, size_t size,
    size_t piece, ngx_uint_t xml, u_char *p, u_char *last);
static void fuzz_entry(ngx_gcs_list_entry_t *entry);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/*
 * The first byte is "j" or "x", or its upper-case letter for a page in HTML.
 * How an answer is cut into pieces changes nothing of what is written.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char      *whole, *pieces, *first, *second;
    size_t       room, html;
    ngx_pool_t  *pool;

    if (size == 0) {
        return 0;
    }

    pool = test_pool();

    html = (data[0] & 0x20) ? 0 : 1;
    room = 2 * NGX_GCS_LIST_ROOM + size * (html ? 256 : 64);

    first = ngx_palloc(pool, room);
    second = ngx_palloc(pool, room);

    whole = fuzz_read(pool, data, size, size, (data[0] | 0x20) == 'x', first,
                      first + room);
    pieces = fuzz_read(pool, data, size, 1 + size % 7,
                       (data[0] | 0x20) == 'x', second, second + room);

    fuzz_check(whole - first == pieces - second);
    fuzz_check(memcmp(first, second, whole - first) == 0);

    ngx_destroy_pool(pool);

    return 0;
}


static u_char *
fuzz_read(ngx_pool_t *pool, const uint8_t *data, size_t size, size_t piece,
    ngx_uint_t xml, u_char *p, u_char *last)
{
    u_char                 *pos, *end;
    size_t                  at, n;
    ngx_int_t               rc;
    ngx_str_t               copy, token;
    ngx_gcs_list_page_t     page;
    ngx_gcs_list_entry_t    entry;
    ngx_gcs_list_parser_t  *parser;

    ngx_memzero(&page, sizeof(page));

    page.format = (data[0] & 0x20) ? NGX_GCS_LIST_JSON : NGX_GCS_LIST_HTML;
    ngx_str_set(&page.bucket, "bucket");
    ngx_str_set(&page.prefix, "p/");
    ngx_str_set(&page.base, "/f/p/");
    ngx_str_set(&page.root, "f");
    ngx_str_set(&page.path, "p/");

    parser = ngx_palloc(pool, sizeof(ngx_gcs_list_parser_t));
    ngx_gcs_list_init(parser, xml);

    p = ngx_gcs_list_head(&page, p, last);
    fuzz_check(p);

    rc = NGX_AGAIN;

    for (at = 1; at < size && rc == NGX_AGAIN; at += n) {

        n = ngx_min(piece, size - at);
        copy = test_bytes(pool, data + at, n);

        pos = copy.data;
        end = pos + n;

        while ((rc = ngx_gcs_list_parse(parser, &pos, end, &entry)) == NGX_OK)
        {
            fuzz_entry(&entry);
            p = ngx_gcs_list_item(&page, &entry, p, last);

            /* an entry of a few bytes becomes a row of many: then no more */

            if (p == NULL) {
                abort();
            }
        }

        fuzz_check(rc == NGX_AGAIN ? pos == end : pos <= end);
        fuzz_check((rc == NGX_ERROR) == (parser->reason != NULL));
    }

    token = ngx_gcs_list_token(parser);
    fuzz_check(token.len <= NGX_GCS_LIST_TOKEN_MAX);

    if (!ngx_gcs_list_done(parser)) {
        token.len = 0;
    }

    p = ngx_gcs_list_tail(&page, &token, p, last);
    fuzz_check(p);

    return p;
}


static void
fuzz_entry(ngx_gcs_list_entry_t *entry)
{
    size_t  i;

    fuzz_check(entry->name.len > 0
               && entry->name.len <= NGX_GCS_LIST_NAME_MAX);
    fuzz_check(entry->size >= -1);

    for (i = 0; i < entry->generation.len; i++) {
        fuzz_check(entry->generation.data[i] >= '0'
                   && entry->generation.data[i] <= '9');
    }

    for (i = 0; i < entry->updated.len; i++) {
        fuzz_check(memchr("0123456789-T:.Z+", entry->updated.data[i], 16));
    }
}
