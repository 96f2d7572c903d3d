
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_check.h"
#include "ngx_gcs_metrics.h"


/* a longer word of a stranger's may be a token, or a signature: 64 digits */
#define NGX_GCS_CHECK_WORD_MAX  63


static ngx_uint_t ngx_gcs_check_secret(u_char *p, size_t len);
static size_t ngx_gcs_check_acting(u_char *p, u_char *last);
static ngx_uint_t ngx_gcs_check_listed(ngx_str_t *list, char *name);


ngx_str_t  ngx_gcs_check_names[NGX_GCS_CHECK_STEPS] = {
    ngx_string("credential"),
    ngx_string("token"),
    ngx_string("tls"),
    ngx_string("clock"),
    ngx_string("bucket"),
    ngx_string("list"),
    ngx_string("read"),
    ngx_string("range"),
    ngx_string("sign"),
    ngx_string("write"),
    ngx_string("cors")
};


ngx_int_t
ngx_gcs_check_find(ngx_str_t *name)
{
    ngx_int_t  i;

    for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {

        if (name->len == ngx_gcs_check_names[i].len
            && ngx_strncmp(name->data, ngx_gcs_check_names[i].data, name->len)
               == 0)
        {
            return i;
        }
    }

    return NGX_ERROR;
}


ngx_uint_t
ngx_gcs_check_passed(ngx_gcs_check_t *check)
{
    ngx_uint_t             i;
    ngx_gcs_check_step_t  *step;

    for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {
        step = &check->steps[i];

        if (step->required
            && step->status != NGX_GCS_CHECK_OK
            && !(step->status == NGX_GCS_CHECK_SKIPPED && step->exempt))
        {
            return 0;
        }
    }

    return 1;
}


void
ngx_gcs_check_say(ngx_gcs_check_t *check, ngx_uint_t step, ngx_uint_t status,
    const char *fmt, ...)
{
    u_char                *p;
    va_list                args;
    u_char                 buf[NGX_GCS_CHECK_MESSAGE_MAX];
    ngx_str_t              text;
    ngx_gcs_check_step_t  *s;

    s = &check->steps[step];
    s->status = status;

    va_start(args, fmt);
    p = ngx_vslprintf(buf, buf + NGX_GCS_CHECK_MESSAGE_MAX, fmt, args);
    va_end(args);

    text.data = buf;
    text.len = p - buf;

    s->message.data = ngx_pstrdup(check->pool, &text);
    s->message.len = s->message.data ? text.len : 0;
}


/*
 * Words end at what tokens and signatures have not: a signature is one of the
 * words of a URL.
 */

ngx_str_t
ngx_gcs_check_clean(ngx_pool_t *pool, ngx_str_t *text, size_t max)
{
    u_char     *p, *q, *last, *end;
    size_t      len;
    ngx_str_t   out;

    out.len = 0;
    out.data = ngx_pnalloc(pool, max);

    if (out.data == NULL) {
        return out;
    }

    p = text->len ? text->data : out.data;
    last = p + text->len;
    q = out.data;
    end = q + max;

    while (p < last && q < end) {

        len = ngx_gcs_check_acting(p, last);

        if (len) {
            *q++ = ' ';
            p += len;
            continue;
        }

        for (len = 0; p + len < last; len++) {
            if (ngx_gcs_check_acting(p + len, last)
                || ngx_strchr(" \"'(),:;<>@?&=[]{}|*`$!", p[len]))
            {
                break;
            }
        }

        if (len == 0) {
            *q++ = *p++;

        } else if (ngx_gcs_check_secret(p, len)) {
            q = ngx_cpymem(q, "...", ngx_min(3, (size_t) (end - q)));

        } else {
            q = ngx_cpymem(q, p, ngx_min(len, (size_t) (end - q)));
        }

        p += len;
    }

    out.len = q - out.data;

    /* a character that has been cut in two is replaced, too */

    return ngx_gcs_metrics_clean(pool, &out);
}


static ngx_uint_t
ngx_gcs_check_secret(u_char *p, size_t len)
{
    size_t  i, n, part;

    /* other words have the first two in them, but do not begin so */

    static char  *prefixes[] = { "eyJ", "1//0", "ya29.", "GOCSPX-", NULL };

    part = 0;

    for (i = 0; i < len; i++) {

        /* a path may be long, its parts are not */

        part = (p[i] == '/' || p[i] == '.') ? 0 : part + 1;

        if (part > NGX_GCS_CHECK_WORD_MAX) {
            return 1;
        }

        n = (i && p[i - 1] != '/') ? 2 : 0;

        for ( /* void */ ; prefixes[n]; n++) {
            if (len - i > ngx_strlen(prefixes[n])
                && ngx_strncmp(p + i, prefixes[n], ngx_strlen(prefixes[n]))
                   == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}


/*
 * The length of a character at p that would act instead of being shown: a
 * control character beyond ASCII, or one that turns the text around.
 */

static size_t
ngx_gcs_check_acting(u_char *p, u_char *last)
{
    if (*p < ' ' || *p == 0x7f) {
        return 1;
    }

    if (last - p >= 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        return 2;
    }

    if (last - p >= 3 && p[0] == 0xe2
        && ((p[1] == 0x80 && ((p[2] >= 0xa8 && p[2] <= 0xae)
                              || p[2] == 0x8e || p[2] == 0x8f))
            || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9)))
    {
        return 3;
    }

    return 0;
}


ngx_str_t
ngx_gcs_check_word(ngx_str_t *text)
{
    u_char     c;
    size_t     i;
    ngx_str_t  none;

    ngx_str_null(&none);

    for (i = 0; i < text->len; i++) {
        c = (u_char) (text->data[i] | 0x20);

        if ((c >= 'a' && c <= 'z')
            || (text->data[i] >= '0' && text->data[i] <= '9'))
        {
            continue;
        }

        /* not at the beginning, where it could be an option */

        if (text->data[i] == '\0'
            || ngx_strchr(i ? "@._:/-+" : "/_", text->data[i]) == NULL)
        {
            return none;
        }
    }

    return text->len <= 512 ? *text : none;
}


ngx_str_t
ngx_gcs_check_who(ngx_pool_t *pool, ngx_str_t *text)
{
    char       *prefix;
    u_char     *p, *last;
    ngx_str_t   who, member;

    static u_char  phrase[] = " does not have ";
    static u_char  dots[] = "...";
    static u_char  service[] = ".gserviceaccount.com";

    ngx_str_null(&member);

    if (text->len == 0) {
        return member;
    }

    last = text->data + text->len;

    p = ngx_strlcasestrn(text->data, last, phrase, sizeof(phrase) - 2);

    if (p == NULL) {
        return member;
    }

    who.data = text->data;
    who.len = p - text->data;

    who = ngx_gcs_check_word(&who);

    if (who.len == 0) {
        return member;
    }

    last = who.data + who.len;

    /* dots stand for what was too long to be shown */

    if (ngx_strlcasestrn(who.data, last, dots, sizeof(dots) - 2)) {
        return member;
    }

    if (ngx_strlchr(who.data, last, '@') == NULL) {
        return (ngx_strncmp(who.data, "principal", 9) == 0) ? who : member;
    }

    prefix = ngx_strlcasestrn(who.data, last, service, sizeof(service) - 2)
             ? "serviceAccount:" : "user:";

    p = ngx_pnalloc(pool, ngx_strlen(prefix) + who.len);
    if (p == NULL) {
        return member;
    }

    member.data = p;
    member.len = ngx_sprintf(p, "%s%V", prefix, &who) - p;

    return member;
}


ngx_int_t
ngx_gcs_check_skew(ngx_str_t *date, time_t now, time_t *skew)
{
    time_t  at;

    if (date->len == 0) {
        return NGX_DECLINED;
    }

    at = ngx_parse_http_time(date->data, date->len);

    if (at == NGX_ERROR) {
        return NGX_DECLINED;
    }

    *skew = now - at;

    return NGX_OK;
}


ngx_uint_t
ngx_gcs_check_first_byte(ngx_str_t *value, off_t size)
{
    off_t   n;
    size_t  len;

    len = sizeof("bytes 0-0/") - 1;

    if (value->len <= len
        || ngx_strncmp(value->data, "bytes 0-0/", len) != 0)
    {
        return 0;
    }

    n = ngx_atoof(value->data + len, value->len - len);

    return n > 0 && (size == -1 || n == size);
}


ngx_int_t
ngx_gcs_check_cors(ngx_str_t *origin, ngx_str_t *allowed, ngx_str_t *exposed)
{
    if (!(allowed->len == 1 && allowed->data[0] == '*')
        && !(allowed->len == origin->len
             && ngx_strncmp(allowed->data, origin->data, origin->len) == 0))
    {
        return NGX_DECLINED;
    }

    if (ngx_gcs_check_listed(exposed, "Content-Range")
        || ngx_gcs_check_listed(exposed, "*"))
    {
        return NGX_OK;
    }

    return NGX_AGAIN;
}


static ngx_uint_t
ngx_gcs_check_listed(ngx_str_t *list, char *name)
{
    u_char  *p, *last;
    size_t   len, n;

    if (list->len == 0) {
        return 0;
    }

    len = ngx_strlen(name);
    p = list->data;
    last = p + list->len;

    while (p < last) {

        if (*p == ',' || *p == ' ' || *p == '\t') {
            p++;
            continue;
        }

        for (n = 0; p + n < last && p[n] != ','; n++) { /* void */ }

        if (n >= len
            && ngx_strncasecmp(p, (u_char *) name, len) == 0
            && (n == len || p[len] == ' ' || p[len] == '\t'))
        {
            return 1;
        }

        p += n;
    }

    return 0;
}
