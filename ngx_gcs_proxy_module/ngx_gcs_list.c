
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list_parts.h"


typedef struct {
    size_t        offset;        /* in parser->text */
    size_t        max;
} ngx_gcs_list_slot_t;


static ngx_str_t ngx_gcs_list_value(ngx_gcs_list_parser_t *parser,
    ngx_uint_t field);
static void ngx_gcs_list_digits(ngx_str_t *value);
static off_t ngx_gcs_list_number(ngx_str_t *value);
static void ngx_gcs_list_time(ngx_str_t *value);
static void ngx_gcs_list_hash(ngx_gcs_list_parser_t *parser,
    ngx_str_t *value);


static ngx_gcs_list_slot_t  ngx_gcs_list_slots[NGX_GCS_LIST_NONE] = {
    { 0, NGX_GCS_LIST_NAME_MAX },
    { 1024, 20 },                          /* size */
    { 1048, 40 },                          /* updated */
    { 1088, 256 },                         /* content type */
    { 1344, 20 },                          /* generation */
    { 1368, 64 },                          /* MD5 */
    { 1432, NGX_GCS_LIST_TOKEN_MAX }
};


void
ngx_gcs_list_init(ngx_gcs_list_parser_t *parser, ngx_uint_t xml)
{
    ngx_memzero(parser, sizeof(ngx_gcs_list_parser_t));

    parser->xml = xml ? 1 : 0;
    parser->field = NGX_GCS_LIST_NONE;
}


ngx_int_t
ngx_gcs_list_parse(ngx_gcs_list_parser_t *parser, u_char **pos, u_char *last,
    ngx_gcs_list_entry_t *entry)
{
    if (parser->reason) {
        return NGX_ERROR;
    }

    return parser->xml ? ngx_gcs_list_xml(parser, pos, last, entry)
                       : ngx_gcs_list_json(parser, pos, last, entry);
}


ngx_uint_t
ngx_gcs_list_done(ngx_gcs_list_parser_t *parser)
{
    /* in XML, 0 is outside of everything that has a beginning and an end */

    return parser->done && parser->reason == NULL
           && (!parser->xml || parser->state == 0);
}


ngx_str_t
ngx_gcs_list_token(ngx_gcs_list_parser_t *parser)
{
    return ngx_gcs_list_value(parser, NGX_GCS_LIST_TOKEN);
}


ngx_int_t
ngx_gcs_list_error(ngx_gcs_list_parser_t *parser, char *reason)
{
    parser->reason = reason;

    return NGX_ERROR;
}


void
ngx_gcs_list_fresh(ngx_gcs_list_parser_t *parser)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_GCS_LIST_TOKEN; i++) {
        parser->len[i] = 0;
    }

    parser->broken = 0;
}


void
ngx_gcs_list_begin(ngx_gcs_list_parser_t *parser, ngx_uint_t field)
{
    parser->field = field;

    if (field != NGX_GCS_LIST_NONE) {
        parser->len[field] = 0;
        parser->broken &= ~(1 << field);
    }
}


ngx_int_t
ngx_gcs_list_add(ngx_gcs_list_parser_t *parser, u_char *p, size_t n)
{
    ngx_uint_t            field;
    ngx_gcs_list_slot_t  *slot;

    field = parser->field;

    if (field == NGX_GCS_LIST_NONE || (parser->broken & (1 << field))) {
        return NGX_OK;
    }

    slot = &ngx_gcs_list_slots[field];

    if (n <= slot->max - parser->len[field]) {
        ngx_memcpy(parser->text + slot->offset + parser->len[field], p, n);
        parser->len[field] += n;

        return NGX_OK;
    }

    if (field == NGX_GCS_LIST_NAME) {
        return ngx_gcs_list_error(parser, "the name of an object is too long");
    }

    if (field == NGX_GCS_LIST_TOKEN) {
        return ngx_gcs_list_error(parser, "the token of a page is too long");
    }

    /* the others are told for what they are worth */

    parser->broken |= 1 << field;
    parser->len[field] = 0;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_list_add_code(ngx_gcs_list_parser_t *parser, uint32_t code)
{
    u_char  *p, buf[4];

    p = buf;

    if (code < 0x80) {
        *p++ = (u_char) code;

    } else if (code < 0x800) {
        *p++ = (u_char) (0xc0 | (code >> 6));
        *p++ = (u_char) (0x80 | (code & 0x3f));

    } else if (code < 0x10000) {
        *p++ = (u_char) (0xe0 | (code >> 12));
        *p++ = (u_char) (0x80 | ((code >> 6) & 0x3f));
        *p++ = (u_char) (0x80 | (code & 0x3f));

    } else {
        *p++ = (u_char) (0xf0 | (code >> 18));
        *p++ = (u_char) (0x80 | ((code >> 12) & 0x3f));
        *p++ = (u_char) (0x80 | ((code >> 6) & 0x3f));
        *p++ = (u_char) (0x80 | (code & 0x3f));
    }

    return ngx_gcs_list_add(parser, buf, p - buf);
}


ngx_uint_t
ngx_gcs_list_lookup(ngx_gcs_list_name_t *names, ngx_gcs_list_parser_t *parser,
    ngx_uint_t otherwise)
{
    if (parser->name_len > sizeof(parser->name)) {
        return otherwise;
    }

    for ( /* void */ ; names->name; names++) {

        if (ngx_strlen(names->name) == parser->name_len
            && ngx_memcmp(names->name, parser->name, parser->name_len) == 0)
        {
            return names->place;
        }
    }

    return otherwise;
}


ngx_int_t
ngx_gcs_list_take(ngx_gcs_list_parser_t *parser, ngx_gcs_list_entry_t *entry,
    ngx_uint_t folder)
{
    ngx_str_t  size;

    ngx_memzero(entry, sizeof(ngx_gcs_list_entry_t));

    entry->name = ngx_gcs_list_value(parser, NGX_GCS_LIST_NAME);
    entry->folder = folder;
    entry->size = -1;

    if (entry->name.len == 0) {
        return NGX_OK;
    }

    if (folder) {
        return NGX_DONE;
    }

    size = ngx_gcs_list_value(parser, NGX_GCS_LIST_SIZE);
    entry->size = ngx_gcs_list_number(&size);

    entry->updated = ngx_gcs_list_value(parser, NGX_GCS_LIST_UPDATED);
    ngx_gcs_list_time(&entry->updated);

    entry->content_type = ngx_gcs_list_value(parser, NGX_GCS_LIST_TYPE);

    entry->generation = ngx_gcs_list_value(parser, NGX_GCS_LIST_GENERATION);
    ngx_gcs_list_digits(&entry->generation);

    entry->md5 = ngx_gcs_list_value(parser, NGX_GCS_LIST_MD5);
    ngx_gcs_list_hash(parser, &entry->md5);

    return NGX_DONE;
}


static ngx_str_t
ngx_gcs_list_value(ngx_gcs_list_parser_t *parser, ngx_uint_t field)
{
    ngx_str_t  value;

    value.data = parser->text + ngx_gcs_list_slots[field].offset;
    value.len = parser->len[field];

    return value;
}


/* what is not of digits alone is no value */

static void
ngx_gcs_list_digits(ngx_str_t *value)
{
    size_t  i;

    for (i = 0; i < value->len; i++) {

        if (value->data[i] < '0' || value->data[i] > '9') {
            value->len = 0;
            return;
        }
    }
}


static off_t
ngx_gcs_list_number(ngx_str_t *value)
{
    off_t   n;
    size_t  i;

    ngx_gcs_list_digits(value);

    if (value->len == 0 || value->len > 18) {
        return -1;
    }

    n = 0;

    for (i = 0; i < value->len; i++) {
        n = n * 10 + (value->data[i] - '0');
    }

    return n;
}


/* "2026-01-02T03:04:05.678Z"; its first 16 bytes are shown to people */

static void
ngx_gcs_list_time(ngx_str_t *value)
{
    size_t         i;
    u_char         ch;
    static u_char  pattern[] = "0000-00-00T00:00";

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if (i >= sizeof(pattern) - 1) {

            if ((ch >= '0' && ch <= '9') || ch == ':' || ch == '.'
                || ch == 'Z' || ch == '+' || ch == '-')
            {
                continue;
            }

        } else if (pattern[i] == '0' ? (ch >= '0' && ch <= '9')
                                     : ch == pattern[i])
        {
            continue;
        }

        break;
    }

    if (i != value->len || i < sizeof("2026-01-02T03:04:05Z") - 1) {
        value->len = 0;
    }
}


/*
 * The JSON API has it in base64.  In XML there is but the ETag: the same in
 * hexadecimal digits and in quotes, or something else.
 */

static void
ngx_gcs_list_hash(ngx_gcs_list_parser_t *parser, ngx_str_t *value)
{
    size_t      i;
    u_char      ch;
    ngx_str_t   raw;
    u_char      bytes[16];

    if (!parser->xml) {

        for (i = 0; i < value->len; i++) {
            ch = value->data[i];

            if (!((ch >= '0' && ch <= '9')
                  || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')
                  || ch == '+' || ch == '/' || ch == '='))
            {
                value->len = 0;
            }
        }

        return;
    }

    if (value->len != 34 || value->data[0] != '"' || value->data[33] != '"') {
        value->len = 0;
        return;
    }

    for (i = 0; i < 32; i++) {
        ch = value->data[i + 1];

        if (ch >= '0' && ch <= '9') {
            ch -= '0';

        } else if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f') {
            ch = (ch | 0x20) - 'a' + 10;

        } else {
            value->len = 0;
            return;
        }

        bytes[i / 2] = (i & 1) ? (u_char) (bytes[i / 2] << 4 | ch) : ch;
    }

    raw.data = bytes;
    raw.len = 16;

    ngx_encode_base64(value, &raw);
}


ngx_uint_t
ngx_gcs_list_matches(ngx_str_t *name, size_t prefix, ngx_str_t *text)
{
    size_t  i, n;

    if (prefix > name->len) {
        prefix = name->len;
    }

    for (i = prefix; i + text->len <= name->len; i++) {

        for (n = 0; n < text->len; n++) {

            if (ngx_tolower(name->data[i + n]) != ngx_tolower(text->data[n]))
            {
                break;
            }
        }

        if (n == text->len) {
            return 1;
        }
    }

    return 0;
}
