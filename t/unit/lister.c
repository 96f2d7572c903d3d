
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Reads a listing and writes it anew, for comparison with a model: a line of
 * JSON on standard input is a question, one on standard output the answer.
 * What may be of any bytes is in hexadecimal digits.
 *
 *     {"document": HEX, "xml": BOOLEAN, "piece": BYTES, "format": N,
 *      "bucket": HEX, "prefix": HEX, "base": HEX, "path": HEX,
 *      "narrow": HEX, "filter": HEX}
 *     {"entries": [...], "done": BOOLEAN, "token": HEX, "reason": TEXT,
 *      "page": HEX}
 */


#include "shim.h"

#include "ngx_gcs_list.h"


static json_t *lister_answer(ngx_pool_t *pool, json_t *in);
static json_t *lister_entry(ngx_gcs_list_entry_t *entry);
static json_t *lister_hex(u_char *p, size_t n);
static ngx_str_t lister_bytes(ngx_pool_t *pool, json_t *in, const char *name);


int
main(void)
{
    return test_asked(lister_answer);
}


static json_t *
lister_answer(ngx_pool_t *pool, json_t *in)
{
    u_char                 *p, *pos, *last, *page, *end, *stop;
    size_t                  piece, n;
    json_t                 *entries;
    ngx_int_t               rc;
    ngx_str_t               document, token, copy;
    ngx_gcs_list_page_t     out;
    ngx_gcs_list_entry_t    entry;
    ngx_gcs_list_parser_t  *parser;

    document = lister_bytes(pool, in, "document");
    piece = json_integer_value(json_object_get(in, "piece"));

    ngx_memzero(&out, sizeof(ngx_gcs_list_page_t));

    out.format = json_integer_value(json_object_get(in, "format"));
    out.bucket = lister_bytes(pool, in, "bucket");
    out.prefix = lister_bytes(pool, in, "prefix");
    out.base = lister_bytes(pool, in, "base");
    out.path = lister_bytes(pool, in, "path");
    out.narrow = lister_bytes(pool, in, "narrow");
    out.filter = lister_bytes(pool, in, "filter");
    ngx_str_set(&out.root, "root");

    parser = ngx_palloc(pool, sizeof(ngx_gcs_list_parser_t));
    ngx_gcs_list_init(parser, json_is_true(json_object_get(in, "xml")));

    entries = json_array();
    page = ngx_palloc(pool, 16 * 1024 * 1024);
    end = page + 16 * 1024 * 1024;
    pos = ngx_gcs_list_head(&out, page, end);

    p = document.data;
    last = p + document.len;
    rc = NGX_AGAIN;

    while (p < last && rc != NGX_ERROR) {

        /* a piece of its own, so that a byte too much is seen */

        n = ngx_min(piece, (size_t) (last - p));
        copy = test_bytes(pool, p, n);
        stop = copy.data + n;
        p += n;

        do {
            rc = ngx_gcs_list_parse(parser, &copy.data, stop, &entry);

            if (rc == NGX_OK) {
                json_array_append_new(entries, lister_entry(&entry));
                pos = ngx_gcs_list_item(&out, &entry, pos, end);
            }
        } while (rc == NGX_OK);
    }

    token = ngx_gcs_list_token(parser);
    pos = ngx_gcs_list_tail(&out, &token, pos, end);

    return json_pack("{s:o, s:b, s:o, s:s?, s:o}",
                     "entries", entries,
                     "done", (int) ngx_gcs_list_done(parser),
                     "token", lister_hex(token.data, token.len),
                     "reason", parser->reason,
                     "page", lister_hex(page, pos - page));
}


static json_t *
lister_entry(ngx_gcs_list_entry_t *entry)
{
    return json_pack("{s:b, s:I, s:o, s:o, s:o, s:o, s:o}",
                     "folder", (int) entry->folder,
                     "size", (json_int_t) entry->size,
                     "name", lister_hex(entry->name.data, entry->name.len),
                     "updated", lister_hex(entry->updated.data,
                                           entry->updated.len),
                     "type", lister_hex(entry->content_type.data,
                                        entry->content_type.len),
                     "generation", lister_hex(entry->generation.data,
                                              entry->generation.len),
                     "md5", lister_hex(entry->md5.data, entry->md5.len));
}


static json_t *
lister_hex(u_char *p, size_t n)
{
    char    *text;
    json_t  *json;

    text = malloc(n * 2 + 1);
    if (text == NULL) {
        abort();
    }

    ngx_hex_dump((u_char *) text, p, n);
    json = json_stringn(text, n * 2);

    free(text);

    return json;
}


static ngx_str_t
lister_bytes(ngx_pool_t *pool, json_t *in, const char *name)
{
    size_t       i, len;
    const char  *hex;
    ngx_str_t    bytes;
    unsigned     n;

    hex = json_string_value(json_object_get(in, name));
    len = hex ? strlen(hex) / 2 : 0;

    bytes.data = ngx_palloc(pool, len);
    bytes.len = len;

    for (i = 0; i < len; i++) {
        sscanf(hex + i * 2, "%2x", &n);
        bytes.data[i] = (u_char) n;
    }

    return bytes;
}
