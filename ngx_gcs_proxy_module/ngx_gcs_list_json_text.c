
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list_parts.h"


/* what strings and numbers of JSON are made of (RFC 8259, 6 and 7) */


static ngx_int_t ngx_gcs_list_json_code(ngx_gcs_list_parser_t *parser);
static u_char *ngx_gcs_list_json_digits(u_char *p, u_char *last);


ngx_int_t
ngx_gcs_list_json_bytes(ngx_gcs_list_parser_t *parser, u_char *p, size_t n)
{
    if (n == 0) {
        return NGX_OK;
    }

    if (ngx_gcs_list_json_lone(parser) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!parser->key) {
        return ngx_gcs_list_add(parser, p, n);
    }

    if (n > sizeof(parser->name) - ngx_min(parser->name_len,
                                           sizeof(parser->name)))
    {
        parser->name_len = sizeof(parser->name) + 1;
        return NGX_OK;
    }

    ngx_memcpy(parser->name + parser->name_len, p, n);
    parser->name_len += n;

    return NGX_OK;
}


ngx_int_t
ngx_gcs_list_json_lone(ngx_gcs_list_parser_t *parser)
{
    if (parser->high == 0) {
        return NGX_OK;
    }

    parser->high = 0;

    if (parser->key) {
        parser->name_len = sizeof(parser->name) + 1;
        return NGX_OK;
    }

    return ngx_gcs_list_add_code(parser, NGX_GCS_LIST_REPLACEMENT);
}


ngx_int_t
ngx_gcs_list_json_escaped(ngx_gcs_list_parser_t *parser, u_char ch)
{
    switch (ch) {

    case 'u':
        parser->count = 0;
        parser->code = 0;

        return NGX_AGAIN;

    case '"':
    case '\\':
    case '/':
        break;

    case 'b':
        ch = '\b';
        break;

    case 'f':
        ch = '\f';
        break;

    case 'n':
        ch = LF;
        break;

    case 'r':
        ch = CR;
        break;

    case 't':
        ch = '\t';
        break;

    default:
        return ngx_gcs_list_error(parser, "an unknown escape in a string");
    }

    return ngx_gcs_list_json_bytes(parser, &ch, 1);
}


ngx_int_t
ngx_gcs_list_json_digit(ngx_gcs_list_parser_t *parser, u_char ch)
{
    if (ch >= '0' && ch <= '9') {
        ch -= '0';

    } else if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f') {
        ch = (ch | 0x20) - 'a' + 10;

    } else {
        return ngx_gcs_list_error(parser, "an escape without its digits");
    }

    parser->code = parser->code * 16 + ch;

    if (++parser->count < 4) {
        return NGX_AGAIN;
    }

    return ngx_gcs_list_json_code(parser);
}


/* the character of an escape; beyond U+FFFF it is written as two halves */

static ngx_int_t
ngx_gcs_list_json_code(ngx_gcs_list_parser_t *parser)
{
    u_char    ch;
    uint32_t  code;

    code = parser->code;

    if (code >= 0xdc00 && code <= 0xdfff && parser->high) {
        code = 0x10000 + ((parser->high - 0xd800) << 10) + (code - 0xdc00);
        parser->high = 0;

    } else {

        if (ngx_gcs_list_json_lone(parser) != NGX_OK) {
            return NGX_ERROR;
        }

        if (code >= 0xd800 && code <= 0xdbff) {
            parser->high = code;
            return NGX_OK;
        }

        if (code >= 0xdc00 && code <= 0xdfff) {
            code = NGX_GCS_LIST_REPLACEMENT;
        }
    }

    if (parser->key && code < 0x80) {
        ch = (u_char) code;
        return ngx_gcs_list_json_bytes(parser, &ch, 1);
    }

    if (parser->key) {

        /* none that is known has such a character */

        parser->name_len = sizeof(parser->name) + 1;
        return NGX_OK;
    }

    return ngx_gcs_list_add_code(parser, code);
}


ngx_uint_t
ngx_gcs_list_json_is_number(u_char *p, u_char *last)
{
    u_char  *end;

    if (p < last && *p == '-') {
        p++;
    }

    end = ngx_gcs_list_json_digits(p, last);

    if (end == p || (*p == '0' && end - p > 1)) {
        return 0;
    }

    p = end;

    if (p < last && *p == '.') {
        p++;
        end = ngx_gcs_list_json_digits(p, last);

        if (end == p) {
            return 0;
        }

        p = end;
    }

    if (p < last && (*p | 0x20) == 'e') {
        p++;

        if (p < last && (*p == '+' || *p == '-')) {
            p++;
        }

        end = ngx_gcs_list_json_digits(p, last);

        if (end == p) {
            return 0;
        }

        p = end;
    }

    return p == last;
}


static u_char *
ngx_gcs_list_json_digits(u_char *p, u_char *last)
{
    while (p < last && *p >= '0' && *p <= '9') {
        p++;
    }

    return p;
}
