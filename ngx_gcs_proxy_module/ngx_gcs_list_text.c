
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_escape.h"
#include "ngx_gcs_list_parts.h"
#include "ngx_gcs_object.h"


typedef u_char *(*ngx_gcs_list_escape_pt)(u_char *dst, u_char *src,
    size_t size);


static void ngx_gcs_list_out_escaped(ngx_gcs_list_out_t *out, u_char *p,
    size_t n, size_t len, ngx_gcs_list_escape_pt escape);


void
ngx_gcs_list_out(ngx_gcs_list_out_t *out, char *text)
{
    ngx_gcs_list_out_bytes(out, (u_char *) text, ngx_strlen(text));
}


void
ngx_gcs_list_out_bytes(ngx_gcs_list_out_t *out, u_char *p, size_t n)
{
    if (out->full || n > (size_t) (out->end - out->pos)) {
        out->full = 1;
        return;
    }

    if (n) {
        out->pos = ngx_cpymem(out->pos, p, n);
    }
}


void
ngx_gcs_list_out_number(ngx_gcs_list_out_t *out, uint64_t n)
{
    u_char  *p, buf[20];

    p = buf + sizeof(buf);

    do {
        *--p = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    ngx_gcs_list_out_bytes(out, p, buf + sizeof(buf) - p);
}


void
ngx_gcs_list_out_json(ngx_gcs_list_out_t *out, u_char *p, size_t n)
{
    u_char         ch, *last, *start;
    size_t         len;
    u_char         buf[6];
    static u_char  hex[] = "0123456789abcdef";

    if (n == 0) {
        return;
    }

    last = p + n;
    start = p;

    while (p < last) {
        ch = *p;
        len = ngx_gcs_object_character(p, last);

        if (len && ch >= 0x20 && ch != '"' && ch != '\\' && ch != 0x7f) {
            p += len;
            continue;
        }

        ngx_gcs_list_out_bytes(out, start, p - start);
        start = ++p;

        if (len == 0) {
            ngx_gcs_list_out(out, "\\ufffd");

        } else if (ch == '"' || ch == '\\') {
            buf[0] = '\\';
            buf[1] = ch;
            ngx_gcs_list_out_bytes(out, buf, 2);

        } else {
            ngx_memcpy(buf, "\\u00", 4);
            buf[4] = hex[ch >> 4];
            buf[5] = hex[ch & 0xf];
            ngx_gcs_list_out_bytes(out, buf, 6);
        }
    }

    ngx_gcs_list_out_bytes(out, start, p - start);
}


/*
 * A control character has no meaning in HTML, and some would end the text; it
 * is shown as what cannot be shown.
 */

void
ngx_gcs_list_out_html(ngx_gcs_list_out_t *out, u_char *p, size_t n)
{
    char    *text;
    u_char  *last, *start;
    size_t   len;

    if (n == 0) {
        return;
    }

    last = p + n;
    start = p;

    while (p < last) {
        len = ngx_gcs_object_character(p, last);
        text = NULL;

        if (len == 0 || *p < 0x20 || *p == 0x7f) {
            text = "\xef\xbf\xbd";
            len = 1;

        } else if (*p == '&') {
            text = "&amp;";

        } else if (*p == '<') {
            text = "&lt;";

        } else if (*p == '>') {
            text = "&gt;";

        } else if (*p == '"') {
            text = "&quot;";

        } else if (*p == '\'') {
            text = "&#39;";
        }

        if (text) {
            ngx_gcs_list_out_bytes(out, start, p - start);
            ngx_gcs_list_out(out, text);
            start = p + len;
        }

        p += len;
    }

    ngx_gcs_list_out_bytes(out, start, p - start);
}


void
ngx_gcs_list_out_path(ngx_gcs_list_out_t *out, u_char *p, size_t n)
{
    ngx_gcs_list_out_escaped(out, p, n, ngx_gcs_escape_path_len(p, n),
                             ngx_gcs_escape_path);
}


void
ngx_gcs_list_out_query(ngx_gcs_list_out_t *out, u_char *p, size_t n)
{
    ngx_gcs_list_out_escaped(out, p, n, ngx_gcs_escape_query_len(p, n),
                             ngx_gcs_escape_query);
}


static void
ngx_gcs_list_out_escaped(ngx_gcs_list_out_t *out, u_char *p, size_t n,
    size_t len, ngx_gcs_list_escape_pt escape)
{
    if (out->full || len > (size_t) (out->end - out->pos)) {
        out->full = 1;
        return;
    }

    if (n) {
        out->pos = escape(out->pos, p, n);
    }
}


void
ngx_gcs_list_out_size(ngx_gcs_list_out_t *out, off_t size)
{
    uint64_t      tenths;
    ngx_uint_t    unit;
    static char  *units[] = { " KiB", " MiB", " GiB", " TiB", " PiB", NULL };

    if (size < 1024) {
        ngx_gcs_list_out_number(out, size);
        ngx_gcs_list_out(out, " B");
        return;
    }

    /* in the unit in which it is less than 1024, cut off */

    tenths = 0;

    for (unit = 0; /* void */ ; unit++) {

        tenths = (uint64_t) (size >> (10 * unit)) * 10 / 1024;

        if (tenths < 10240 || units[unit + 1] == NULL) {
            break;
        }
    }

    if (tenths < 1000) {
        ngx_gcs_list_out_number(out, tenths / 10);
        ngx_gcs_list_out(out, ".");
        ngx_gcs_list_out_number(out, tenths % 10);

    } else {
        ngx_gcs_list_out_number(out, tenths / 10);
    }

    ngx_gcs_list_out(out, units[unit]);
}
