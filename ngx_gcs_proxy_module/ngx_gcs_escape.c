
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_escape.h"


static size_t ngx_gcs_escape_len(u_char *src, size_t size, u_char keep);
static u_char *ngx_gcs_escape(u_char *dst, u_char *src, size_t size,
    u_char keep);


#define ngx_gcs_unreserved(c)                                                 \
    (ngx_gcs_unreserved_set[(c) >> 5] & (1U << ((c) & 0x1f)))


static uint32_t  ngx_gcs_unreserved_set[] = {
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */

                /* ?>=< ;:98 7654 3210  /.-, +*)( '&%$ #"!  */
    0x03ff6000, /* 0000 0011 1111 1111  0110 0000 0000 0000 */

                /* _^]\ [ZYX WVUT SRQP  ONML KJIH GFED CBA@ */
    0x87fffffe, /* 1000 0111 1111 1111  1111 1111 1111 1110 */

                /*  ~}| {zyx wvut srqp  onml kjih gfed cba` */
    0x47fffffe, /* 0100 0111 1111 1111  1111 1111 1111 1110 */

    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000  /* 0000 0000 0000 0000  0000 0000 0000 0000 */
};


size_t
ngx_gcs_escape_path_len(u_char *src, size_t size)
{
    return ngx_gcs_escape_len(src, size, '/');
}


u_char *
ngx_gcs_escape_path(u_char *dst, u_char *src, size_t size)
{
    return ngx_gcs_escape(dst, src, size, '/');
}


size_t
ngx_gcs_escape_query_len(u_char *src, size_t size)
{
    return ngx_gcs_escape_len(src, size, '-');
}


u_char *
ngx_gcs_escape_query(u_char *dst, u_char *src, size_t size)
{
    return ngx_gcs_escape(dst, src, size, '-');
}


/* keep is a character to leave as it is beside the unreserved ones */

static size_t
ngx_gcs_escape_len(u_char *src, size_t size, u_char keep)
{
    size_t  i, len;

    len = 0;

    for (i = 0; i < size; i++) {

        if (ngx_gcs_unreserved(src[i]) || src[i] == keep) {
            len++;

        } else {
            len += sizeof("%XX") - 1;
        }
    }

    return len;
}


static u_char *
ngx_gcs_escape(u_char *dst, u_char *src, size_t size, u_char keep)
{
    size_t         i;
    static u_char  hex[] = "0123456789ABCDEF";

    for (i = 0; i < size; i++) {

        if (ngx_gcs_unreserved(src[i]) || src[i] == keep) {
            *dst++ = src[i];

        } else {
            *dst++ = '%';
            *dst++ = hex[src[i] >> 4];
            *dst++ = hex[src[i] & 0xf];
        }
    }

    return dst;
}
