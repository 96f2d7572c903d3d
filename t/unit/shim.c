
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <malloc.h>


ngx_uint_t   shim_fail_at;
ngx_uint_t   shim_allocs;
const char  *shim_secret;
ngx_uint_t   shim_left;


ngx_pool_t *
ngx_create_pool(size_t size, ngx_log_t *log)
{
    ngx_pool_t  *pool;

    pool = calloc(1, sizeof(ngx_pool_t));
    if (pool == NULL) {
        return NULL;
    }

    pool->max = size;
    pool->log = log;

    return pool;
}


void
ngx_destroy_pool(ngx_pool_t *pool)
{
    ngx_pool_large_t    *l, *next;
    ngx_pool_cleanup_t  *c;

    for (c = pool->cleanup; c; c = c->next) {
        if (c->handler) {
            c->handler(c->data);
        }
    }

    for (l = pool->large; l; l = next) {
        next = l->next;

        /* AddressSanitizer says that one of no bytes has one to be read */

        if (shim_secret
            && malloc_usable_size(l->alloc) >= strlen(shim_secret)
            && memmem(l->alloc, malloc_usable_size(l->alloc), shim_secret,
                      strlen(shim_secret)))
        {
            shim_left++;
        }

        free(l->alloc);
        free(l);
    }

    free(pool);
}


void *
ngx_palloc(ngx_pool_t *pool, size_t size)
{
    ngx_pool_large_t  *l;

    if (++shim_allocs == shim_fail_at) {
        return NULL;
    }

    l = malloc(sizeof(ngx_pool_large_t));
    if (l == NULL) {
        abort();
    }

    l->alloc = malloc(size);
    if (l->alloc == NULL) {
        abort();
    }

    /* not zeros, so that a test sees what nobody has set */

    memset(l->alloc, 0xa5, size);

    l->next = pool->large;
    pool->large = l;

    return l->alloc;
}


void *
ngx_pnalloc(ngx_pool_t *pool, size_t size)
{
    return ngx_palloc(pool, size);
}


void *
ngx_pcalloc(ngx_pool_t *pool, size_t size)
{
    void  *p;

    p = ngx_palloc(pool, size);

    if (p) {
        memset(p, 0, size);
    }

    return p;
}


/* not before the pool: nothing is gained here by what saves memory there */

ngx_int_t
ngx_pfree(ngx_pool_t *pool, void *p)
{
    return NGX_DECLINED;
}


ngx_pool_cleanup_t *
ngx_pool_cleanup_add(ngx_pool_t *p, size_t size)
{
    ngx_pool_cleanup_t  *c;

    c = ngx_palloc(p, sizeof(ngx_pool_cleanup_t));
    if (c == NULL) {
        return NULL;
    }

    c->data = NULL;

    if (size) {
        c->data = ngx_palloc(p, size);
        if (c->data == NULL) {
            return NULL;
        }
    }

    c->handler = NULL;
    c->next = p->cleanup;
    p->cleanup = c;

    return c;
}


ngx_array_t *
ngx_array_create(ngx_pool_t *p, ngx_uint_t n, size_t size)
{
    ngx_array_t  *a;

    a = ngx_palloc(p, sizeof(ngx_array_t));
    if (a == NULL) {
        return NULL;
    }

    a->elts = ngx_palloc(p, n * size);
    if (a->elts == NULL) {
        return NULL;
    }

    a->nelts = 0;
    a->size = size;
    a->nalloc = n;
    a->pool = p;

    return a;
}


void *
ngx_array_push(ngx_array_t *a)
{
    void  *elts;

    if (a->nelts == a->nalloc) {
        elts = ngx_palloc(a->pool, 2 * a->nalloc * a->size);
        if (elts == NULL) {
            return NULL;
        }

        memcpy(elts, a->elts, a->nalloc * a->size);

        a->elts = elts;
        a->nalloc *= 2;
    }

    return (u_char *) a->elts + a->size * a->nelts++;
}


ngx_int_t
ngx_atoi(u_char *line, size_t n)
{
    ngx_int_t  value;

    if (n == 0) {
        return NGX_ERROR;
    }

    for (value = 0; n--; line++) {

        if (*line < '0' || *line > '9' || value > 100000000000000000) {
            return NGX_ERROR;
        }

        value = value * 10 + (*line - '0');
    }

    return value;
}


off_t
ngx_atoof(u_char *line, size_t n)
{
    off_t  value, last;

    if (n == 0) {
        return NGX_ERROR;
    }

    for (value = 0; n--; line++) {

        if (*line < '0' || *line > '9') {
            return NGX_ERROR;
        }

        last = *line - '0';

        if (value > (NGX_MAX_OFF_T_VALUE - last) / 10) {
            return NGX_ERROR;
        }

        value = value * 10 + last;
    }

    return value;
}


/* RFC 1123 only, which is what Google sends */

time_t
ngx_parse_http_time(u_char *value, size_t len)
{
    char       text[64];
    struct tm  tm;

    if (len >= sizeof(text)) {
        return NGX_ERROR;
    }

    memset(&tm, 0, sizeof(tm));
    memcpy(text, value, len);
    text[len] = '\0';

    return strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) ? timegm(&tm)
                                                           : NGX_ERROR;
}


u_char *
ngx_strlcasestrn(u_char *s1, u_char *last, u_char *s2, size_t n)
{
    /* n is one less than the length of s2 */

    for ( /* void */ ; (size_t) (last - s1) > n && last > s1; s1++) {
        if (ngx_strncasecmp(s1, s2, n + 1) == 0) {
            return s1;
        }
    }

    return NULL;
}


ngx_int_t
ngx_strcasecmp(u_char *s1, u_char *s2)
{
    return strcasecmp((char *) s1, (char *) s2);
}


ngx_int_t
ngx_strncasecmp(u_char *s1, u_char *s2, size_t n)
{
    return strncasecmp((char *) s1, (char *) s2, n);
}


u_char *
ngx_strcasestrn(u_char *s1, char *s2, size_t n)
{
    /* n is the length of s2 less one, which nginx compares by itself */

    for ( /* void */ ; *s1; s1++) {
        if (strncasecmp((char *) s1, s2, n + 1) == 0) {
            return s1;
        }
    }

    return NULL;
}


u_char *
ngx_pstrdup(ngx_pool_t *pool, ngx_str_t *src)
{
    u_char  *dst;

    dst = ngx_pnalloc(pool, src->len);

    if (dst && src->len) {
        memcpy(dst, src->data, src->len);
    }

    return dst;
}


void
ngx_encode_base64(ngx_str_t *dst, ngx_str_t *src)
{
    /* with room for the NUL of EVP_EncodeBlock(), which nginx has not */

    u_char  *p;

    p = malloc(ngx_base64_encoded_length(src->len) + 1);
    if (p == NULL) {
        abort();
    }

    dst->len = EVP_EncodeBlock(p, src->data, (int) src->len);
    memcpy(dst->data, p, dst->len);

    free(p);
}


ngx_int_t
ngx_decode_base64(ngx_str_t *dst, ngx_str_t *src)
{
    int      n;
    size_t   pad;
    u_char  *p, *text;

    /* as nginx: the padding may be missing, or too long */

    while (src->len && src->data[src->len - 1] == '=') {
        src->len--;
    }

    if (src->len % 4 == 1) {
        return NGX_ERROR;
    }

    pad = (4 - src->len % 4) % 4;

    text = malloc(src->len + pad + 1);
    p = malloc(ngx_base64_decoded_length(src->len) + 4);

    if (text == NULL || p == NULL) {
        abort();
    }

    memcpy(text, src->data, src->len);
    memset(text + src->len, '=', pad);

    n = EVP_DecodeBlock(p, text, (int) (src->len + pad));

    if (n >= 0) {
        dst->len = n - pad;
        memcpy(dst->data, p, dst->len);
    }

    free(text);
    free(p);

    return n >= 0 ? NGX_OK : NGX_ERROR;
}


void
ngx_encode_base64url(ngx_str_t *dst, ngx_str_t *src)
{
    size_t        i, n;
    u_char       *p;
    uint32_t      bits;
    static char   basis[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                            "abcdefghijklmnopqrstuvwxyz0123456789-_";

    p = dst->data;

    for (i = 0; i < src->len; i += 3) {

        n = ngx_min(src->len - i, 3);

        bits = (uint32_t) src->data[i] << 16;

        if (n > 1) {
            bits |= (uint32_t) src->data[i + 1] << 8;
        }

        if (n > 2) {
            bits |= src->data[i + 2];
        }

        *p++ = basis[bits >> 18];
        *p++ = basis[(bits >> 12) & 0x3f];

        if (n > 1) {
            *p++ = basis[(bits >> 6) & 0x3f];
        }

        if (n > 2) {
            *p++ = basis[bits & 0x3f];
        }
    }

    dst->len = p - dst->data;
}


u_char *
ngx_hex_dump(u_char *dst, u_char *src, size_t len)
{
    static char  hex[] = "0123456789abcdef";

    while (len--) {
        *dst++ = hex[*src >> 4];
        *dst++ = hex[*src++ & 0xf];
    }

    return dst;
}


/* with a month from 1 and the whole year, as nginx has it */

void
ngx_gmtime(time_t t, ngx_tm_t *tp)
{
    /* from 1970 to the end of 9999 */

    t = ngx_min(ngx_max(t, 0), (time_t) 253402300799);

    if (gmtime_r(&t, tp) == NULL) {
        abort();
    }

    tp->ngx_tm_mon++;
    tp->ngx_tm_year += 1900;
}


/* only the conversions that the pure files use */

u_char *
ngx_vslprintf(u_char *buf, u_char *last, const char *fmt, va_list args)
{
    char        number[32];
    size_t      len;
    ngx_str_t  *v;
    const char *s;

    for ( /* void */ ; *fmt && buf < last; fmt++) {

        if (*fmt != '%') {
            *buf++ = *fmt;
            continue;
        }

        fmt++;

        switch (*fmt) {

        case 'V':
            v = va_arg(args, ngx_str_t *);
            s = (char *) v->data;
            len = v->len;
            break;

        case 's':
            s = va_arg(args, char *);
            len = strlen(s);
            break;

        case 'd':
            len = sprintf(number, "%d", va_arg(args, int));
            s = number;
            break;

        case 'T':
            len = sprintf(number, "%ld", (long) va_arg(args, time_t));
            s = number;
            break;

        case 'u':
            fmt++;

            if (*fmt != 'i') {
                abort();
            }

            len = sprintf(number, "%lu",
                          (unsigned long) va_arg(args, ngx_uint_t));
            s = number;
            break;

        default:
            abort();
        }

        len = ngx_min(len, (size_t) (last - buf));
        buf = ngx_cpymem(buf, s, len);
    }

    return buf;
}


u_char *
ngx_slprintf(u_char *buf, u_char *last, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    buf = ngx_vslprintf(buf, last, fmt, args);
    va_end(args);

    return buf;
}


u_char *
ngx_snprintf(u_char *buf, size_t max, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    buf = ngx_vslprintf(buf, buf + max, fmt, args);
    va_end(args);

    return buf;
}


/* without an end: AddressSanitizer sees one too many */

u_char *
ngx_sprintf(u_char *buf, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    buf = ngx_vslprintf(buf, (u_char *) -1, fmt, args);
    va_end(args);

    return buf;
}
