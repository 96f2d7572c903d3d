
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_unescape.h"


static ngx_int_t ngx_gcs_unescape_digit(u_char ch);


u_char *
ngx_gcs_unescape(u_char *dst, u_char *src, size_t size, ngx_uint_t plus)
{
    u_char  ch, *last;

    last = src + size;

    while (src < last) {

        if (ngx_gcs_unescape_at(src, last)) {
            ch = (u_char) (ngx_gcs_unescape_digit(src[1]) << 4
                           | ngx_gcs_unescape_digit(src[2]));
            src += 3;

        } else {
            ch = *src++;

            if (ch == '+' && plus) {
                ch = ' ';
            }
        }

        *dst++ = ch;
    }

    return dst;
}


ngx_uint_t
ngx_gcs_unescape_at(u_char *p, u_char *last)
{
    return last - p >= 3 && p[0] == '%'
           && ngx_gcs_unescape_digit(p[1]) != NGX_ERROR
           && ngx_gcs_unescape_digit(p[2]) != NGX_ERROR;
}


static ngx_int_t
ngx_gcs_unescape_digit(u_char ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }

    ch = (u_char) (ch | 0x20);

    if (ch >= 'a' && ch <= 'f') {
        return ch - 'a' + 10;
    }

    return NGX_ERROR;
}
