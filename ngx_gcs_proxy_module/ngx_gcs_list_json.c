
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list_parts.h"


/*
 * The answer of objects.list, as RFC 8259 has it; what is not known is read
 * and forgotten.
 */


typedef enum {
    ngx_gcs_list_json_start = 0,
    ngx_gcs_list_json_value,
    ngx_gcs_list_json_first,         /* a value or "]" */
    ngx_gcs_list_json_member,        /* a key or "}" */
    ngx_gcs_list_json_key,
    ngx_gcs_list_json_colon,
    ngx_gcs_list_json_comma,         /* or the end */
    ngx_gcs_list_json_string,
    ngx_gcs_list_json_escape,
    ngx_gcs_list_json_hex,
    ngx_gcs_list_json_literal
} ngx_gcs_list_json_e;


/* what an open "{" or "[" is to a listing, or the value of a key */

typedef enum {
    NGX_GCS_LIST_JSON_OTHER = 0,
    NGX_GCS_LIST_JSON_ROOT,
    NGX_GCS_LIST_JSON_ITEMS,
    NGX_GCS_LIST_JSON_ITEM,
    NGX_GCS_LIST_JSON_PREFIXES,
    NGX_GCS_LIST_JSON_TOKEN
} ngx_gcs_list_json_place_e;


static ngx_int_t ngx_gcs_list_json_char(ngx_gcs_list_parser_t *parser,
    u_char ch, ngx_gcs_list_entry_t *entry);
static ngx_int_t ngx_gcs_list_json_begin(ngx_gcs_list_parser_t *parser,
    u_char ch);
static ngx_int_t ngx_gcs_list_json_open(ngx_gcs_list_parser_t *parser,
    u_char ch);
static ngx_int_t ngx_gcs_list_json_close(ngx_gcs_list_parser_t *parser,
    u_char ch, ngx_gcs_list_entry_t *entry);
static ngx_uint_t ngx_gcs_list_json_field(ngx_gcs_list_parser_t *parser);
static u_char *ngx_gcs_list_json_plain(ngx_gcs_list_parser_t *parser,
    u_char *p, u_char *last);
static ngx_int_t ngx_gcs_list_json_special(ngx_gcs_list_parser_t *parser,
    u_char ch);
static ngx_int_t ngx_gcs_list_json_quote(ngx_gcs_list_parser_t *parser,
    ngx_gcs_list_entry_t *entry);
static ngx_int_t ngx_gcs_list_json_end_literal(ngx_gcs_list_parser_t *parser);


static ngx_gcs_list_name_t  ngx_gcs_list_json_members[] = {
    { "items", NGX_GCS_LIST_JSON_ITEMS },
    { "prefixes", NGX_GCS_LIST_JSON_PREFIXES },
    { "nextPageToken", NGX_GCS_LIST_JSON_TOKEN },
    { NULL, 0 }
};


static ngx_gcs_list_name_t  ngx_gcs_list_json_fields[] = {
    { "name", NGX_GCS_LIST_NAME },
    { "size", NGX_GCS_LIST_SIZE },
    { "updated", NGX_GCS_LIST_UPDATED },
    { "contentType", NGX_GCS_LIST_TYPE },
    { "generation", NGX_GCS_LIST_GENERATION },
    { "md5Hash", NGX_GCS_LIST_MD5 },
    { NULL, 0 }
};


ngx_int_t
ngx_gcs_list_json(ngx_gcs_list_parser_t *parser, u_char **pos, u_char *last,
    ngx_gcs_list_entry_t *entry)
{
    u_char     *p;
    ngx_int_t   rc;

    p = *pos;

    while (p < last) {

        if (parser->state == ngx_gcs_list_json_string) {
            *pos = p;
            p = ngx_gcs_list_json_plain(parser, p, last);

            if (ngx_gcs_list_json_bytes(parser, *pos, p - *pos) != NGX_OK) {
                return NGX_ERROR;
            }

            if (p == last) {
                break;
            }
        }

        rc = ngx_gcs_list_json_char(parser, *p, entry);

        if (rc == NGX_AGAIN) {

            /* the end of a number or a word, which is not a part of it */

            continue;
        }

        p++;

        if (rc == NGX_DONE) {
            *pos = p;
            return NGX_OK;
        }

        if (rc == NGX_ERROR) {
            *pos = p;
            return NGX_ERROR;
        }
    }

    *pos = p;

    return NGX_AGAIN;
}


/* NGX_DONE: there is an entry; NGX_AGAIN: the same character once more */

static ngx_int_t
ngx_gcs_list_json_char(ngx_gcs_list_parser_t *parser, u_char ch,
    ngx_gcs_list_entry_t *entry)
{
    switch (parser->state) {

    case ngx_gcs_list_json_string:

        if (ch == '"') {
            return ngx_gcs_list_json_quote(parser, entry);
        }

        if (ch == '\\') {
            parser->state = ngx_gcs_list_json_escape;
            return NGX_OK;
        }

        return ngx_gcs_list_error(parser, "a control character in a string");

    case ngx_gcs_list_json_escape:
    case ngx_gcs_list_json_hex:
        return ngx_gcs_list_json_special(parser, ch);

    case ngx_gcs_list_json_literal:

        if ((ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a'
            && (ch | 0x20) <= 'z') || ch == '-' || ch == '+' || ch == '.')
        {
            if (parser->literal_len == sizeof(parser->literal)) {
                return ngx_gcs_list_error(parser, "a number is too long");
            }

            parser->literal[parser->literal_len++] = ch;
            return NGX_OK;
        }

        return ngx_gcs_list_json_end_literal(parser);

    default:
        break;
    }

    if (ngx_gcs_list_blank(ch)) {
        return NGX_OK;
    }

    switch (parser->state) {

    case ngx_gcs_list_json_first:
    case ngx_gcs_list_json_member:
    case ngx_gcs_list_json_comma:

        if (ch == ']' || ch == '}') {
            return ngx_gcs_list_json_close(parser, ch, entry);
        }

        if (parser->state != ngx_gcs_list_json_comma) {
            break;
        }

        if (ch != ',' || parser->depth == 0) {
            return ngx_gcs_list_error(parser, "no comma where one belongs");
        }

        parser->state = (parser->open[parser->depth - 1] == '{')
                        ? ngx_gcs_list_json_key : ngx_gcs_list_json_value;

        return NGX_OK;

    case ngx_gcs_list_json_colon:

        if (ch != ':') {
            return ngx_gcs_list_error(parser, "no colon behind a key");
        }

        parser->state = ngx_gcs_list_json_value;

        return NGX_OK;
    }

    return ngx_gcs_list_json_begin(parser, ch);
}


/* of a value, or of a key */

static ngx_int_t
ngx_gcs_list_json_begin(ngx_gcs_list_parser_t *parser, u_char ch)
{
    if (parser->state == ngx_gcs_list_json_start) {

        if (ch != '{') {
            return ngx_gcs_list_error(parser, "it is not an object of JSON");
        }

        return ngx_gcs_list_json_open(parser, ch);
    }

    parser->key = (parser->state == ngx_gcs_list_json_key
                   || parser->state == ngx_gcs_list_json_member);

    if (ch == '"') {
        parser->state = ngx_gcs_list_json_string;
        parser->high = 0;

        if (parser->key) {
            parser->name_len = 0;
            parser->field = NGX_GCS_LIST_NONE;

        } else {
            ngx_gcs_list_begin(parser, ngx_gcs_list_json_field(parser));
        }

        return NGX_OK;
    }

    if (parser->key) {
        return ngx_gcs_list_error(parser, "a key is not a string");
    }

    /* what is not a string is no value of that name, nor is an earlier one */

    ngx_gcs_list_begin(parser, ngx_gcs_list_json_field(parser));
    parser->field = NGX_GCS_LIST_NONE;

    if (ch == '{' || ch == '[') {
        return ngx_gcs_list_json_open(parser, ch);
    }

    parser->state = ngx_gcs_list_json_literal;
    parser->literal_len = 0;

    if (ch == '-' || (ch >= '0' && ch <= '9')
        || ch == 't' || ch == 'f' || ch == 'n')
    {
        return NGX_AGAIN;
    }

    return ngx_gcs_list_error(parser, "no value where one belongs");
}


static ngx_int_t
ngx_gcs_list_json_open(ngx_gcs_list_parser_t *parser, u_char ch)
{
    ngx_uint_t  depth, place, outer;

    depth = parser->depth;

    if (depth == NGX_GCS_LIST_DEPTH) {
        return ngx_gcs_list_error(parser, "it is nested too deeply");
    }

    place = NGX_GCS_LIST_JSON_OTHER;
    outer = depth ? parser->place[depth - 1] : NGX_GCS_LIST_JSON_OTHER;

    if (depth == 0) {
        place = NGX_GCS_LIST_JSON_ROOT;

    } else if (outer == NGX_GCS_LIST_JSON_ROOT) {
        place = ngx_gcs_list_lookup(ngx_gcs_list_json_members, parser,
                                    NGX_GCS_LIST_JSON_OTHER);

        if (ch != '[') {
            place = NGX_GCS_LIST_JSON_OTHER;
        }

    } else if (outer == NGX_GCS_LIST_JSON_ITEMS && ch == '{') {
        place = NGX_GCS_LIST_JSON_ITEM;
        ngx_gcs_list_fresh(parser);
    }

    parser->open[depth] = ch;
    parser->place[depth] = (u_char) place;
    parser->depth++;

    parser->state = (ch == '{') ? ngx_gcs_list_json_member
                                : ngx_gcs_list_json_first;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_list_json_close(ngx_gcs_list_parser_t *parser, u_char ch,
    ngx_gcs_list_entry_t *entry)
{
    ngx_uint_t  depth;

    depth = parser->depth;

    if (depth == 0
        || parser->open[depth - 1] != (uint32_t) (ch == '}' ? '{' : '['))
    {
        return ngx_gcs_list_error(parser, "a bracket is not the right one");
    }

    depth--;

    parser->depth = depth;
    parser->done = (depth == 0);
    parser->state = ngx_gcs_list_json_comma;

    if (parser->place[depth] == NGX_GCS_LIST_JSON_ITEM) {
        return ngx_gcs_list_take(parser, entry, 0);
    }

    return NGX_OK;
}


/* what the value that begins is, by the last key and by where it stands */

static ngx_uint_t
ngx_gcs_list_json_field(ngx_gcs_list_parser_t *parser)
{
    ngx_uint_t  place;

    switch (parser->place[parser->depth - 1]) {

    case NGX_GCS_LIST_JSON_ROOT:
        place = ngx_gcs_list_lookup(ngx_gcs_list_json_members, parser,
                                    NGX_GCS_LIST_JSON_OTHER);

        return (place == NGX_GCS_LIST_JSON_TOKEN) ? NGX_GCS_LIST_TOKEN
                                                  : NGX_GCS_LIST_NONE;

    case NGX_GCS_LIST_JSON_ITEM:
        return ngx_gcs_list_lookup(ngx_gcs_list_json_fields, parser,
                                   NGX_GCS_LIST_NONE);

    case NGX_GCS_LIST_JSON_PREFIXES:
        ngx_gcs_list_fresh(parser);
        return NGX_GCS_LIST_NAME;

    default:
        return NGX_GCS_LIST_NONE;
    }
}


/* up to what is special in a string */

static u_char *
ngx_gcs_list_json_plain(ngx_gcs_list_parser_t *parser, u_char *p, u_char *last)
{
    while (p < last && *p != '"' && *p != '\\' && *p >= 0x20) {
        p++;
    }

    return p;
}


/* of an escape in a string */

static ngx_int_t
ngx_gcs_list_json_special(ngx_gcs_list_parser_t *parser, u_char ch)
{
    ngx_int_t  rc;

    rc = (parser->state == ngx_gcs_list_json_escape)
         ? ngx_gcs_list_json_escaped(parser, ch)
         : ngx_gcs_list_json_digit(parser, ch);

    if (rc == NGX_AGAIN) {
        parser->state = ngx_gcs_list_json_hex;
        return NGX_OK;
    }

    parser->state = ngx_gcs_list_json_string;

    return rc;
}


static ngx_int_t
ngx_gcs_list_json_quote(ngx_gcs_list_parser_t *parser,
    ngx_gcs_list_entry_t *entry)
{
    if (ngx_gcs_list_json_lone(parser) != NGX_OK) {
        return NGX_ERROR;
    }

    parser->field = NGX_GCS_LIST_NONE;

    if (parser->key) {
        parser->key = 0;
        parser->state = ngx_gcs_list_json_colon;

        return NGX_OK;
    }

    parser->state = ngx_gcs_list_json_comma;

    if (parser->place[parser->depth - 1] == NGX_GCS_LIST_JSON_PREFIXES) {
        return ngx_gcs_list_take(parser, entry, 1);
    }

    return NGX_OK;
}


/* a number may stand for a text of digits; the rest is only to be valid */

static ngx_int_t
ngx_gcs_list_json_end_literal(ngx_gcs_list_parser_t *parser)
{
    u_char      *p;
    size_t       len;
    ngx_uint_t   field;

    p = parser->literal;
    len = parser->literal_len;

    parser->state = ngx_gcs_list_json_comma;

    if ((len == 4 && ngx_memcmp(p, "true", 4) == 0)
        || (len == 4 && ngx_memcmp(p, "null", 4) == 0)
        || (len == 5 && ngx_memcmp(p, "false", 5) == 0))
    {
        return NGX_AGAIN;
    }

    if (!ngx_gcs_list_json_is_number(p, p + len)) {
        return ngx_gcs_list_error(parser, "it is neither a number nor a word");
    }

    field = ngx_gcs_list_json_field(parser);

    if (field == NGX_GCS_LIST_SIZE || field == NGX_GCS_LIST_GENERATION) {
        ngx_gcs_list_begin(parser, field);

        if (ngx_gcs_list_add(parser, p, len) != NGX_OK) {
            return NGX_ERROR;
        }

        parser->field = NGX_GCS_LIST_NONE;
    }

    return NGX_AGAIN;
}
