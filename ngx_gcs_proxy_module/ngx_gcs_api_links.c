
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_api.h"


/*
 * Answers of the JSON API tell where an object is, "selfLink" and "mediaLink",
 * and clients go there.  These links are found while the answer passes, with
 * nothing of it kept but the beginning of one link: of the resource, of those
 * in a list, and of the one that a copy has made.  What stands at other places
 * is the metadata of objects, which is anybody's.
 */


#define NGX_GCS_API_LEVELS  63


/* the member of the outermost object that is being read */

#define NGX_GCS_API_ELSEWHERE  0
#define NGX_GCS_API_ITEMS      1
#define NGX_GCS_API_RESOURCE   2


static ngx_uint_t ngx_gcs_api_links_byte(ngx_gcs_api_links_t *links,
    u_char ch);
static ngx_uint_t ngx_gcs_api_links_here(ngx_gcs_api_links_t *links);
static void ngx_gcs_api_links_key(ngx_gcs_api_links_t *links);
static ngx_int_t ngx_gcs_api_links_held(ngx_gcs_api_links_t *links,
    u_char **pos, u_char *last, ngx_str_t *text);


ngx_int_t
ngx_gcs_api_links(ngx_gcs_api_links_t *links, u_char **pos, u_char *last,
    ngx_str_t *text)
{
    u_char  *p;

    if (links->holding) {
        return ngx_gcs_api_links_held(links, pos, last, text);
    }

    p = *pos;

    if (p == last) {
        return NGX_AGAIN;
    }

    text->data = p;

    while (p < last) {

        if (links->off) {
            p = last;
            break;
        }

        if (ngx_gcs_api_links_byte(links, *p++)) {
            links->holding = 1;
            links->len = 0;
            break;
        }
    }

    text->len = p - text->data;
    *pos = p;

    return NGX_OK;
}


/* returns 1 where a link begins */

static ngx_uint_t
ngx_gcs_api_links_byte(ngx_gcs_api_links_t *links, u_char ch)
{
    ngx_uint_t  object;

    if (links->string) {

        if (links->escape) {
            links->escape = 0;

        } else if (ch == '\\') {
            links->escape = 1;

            /* no key that is looked for has one */

            links->len = sizeof(links->key);

        } else if (ch == '"') {
            links->string = 0;

            if (links->naming) {
                ngx_gcs_api_links_key(links);
            }

            return 0;
        }

        if (links->naming && links->len < sizeof(links->key)) {
            links->key[links->len++] = ch;
        }

        return 0;
    }

    object = (links->objects >> links->depth) & 1;

    switch (ch) {

    case '"':
        links->string = 1;
        links->naming = links->keyed;

        if (links->keyed) {
            links->keyed = 0;
            links->len = 0;
            return 0;
        }

        return ngx_gcs_api_links_here(links);

    case '{':
    case '[':

        if (links->depth == NGX_GCS_API_LEVELS) {
            links->off = 1;
            return 0;
        }

        links->depth++;
        links->objects &= ~((uint64_t) 1 << links->depth);
        links->objects |= (uint64_t) (ch == '{') << links->depth;
        links->keyed = (ch == '{');

        break;

    case '}':
    case ']':

        if (links->depth) {
            links->depth--;
        }

        links->keyed = 0;
        break;

    case ',':
        links->keyed = object;
        break;

    default:
        break;
    }

    return 0;
}


/* whether the string that begins is a link */

static ngx_uint_t
ngx_gcs_api_links_here(ngx_gcs_api_links_t *links)
{
    uint64_t  levels;

    if (!((links->len == sizeof("selfLink") - 1
           && ngx_memcmp(links->key, "selfLink", links->len) == 0)
          || (links->len == sizeof("mediaLink") - 1
              && ngx_memcmp(links->key, "mediaLink", links->len) == 0)))
    {
        return 0;
    }

    /* bit 0 is the outside */

    levels = links->objects & (((uint64_t) 2 << links->depth) - 1);

    switch (links->depth) {

    case 1:
        return levels == 0x2;

    case 2:
        return levels == 0x6 && links->root == NGX_GCS_API_RESOURCE;

    case 3:
        return levels == 0xa && links->root == NGX_GCS_API_ITEMS;

    default:
        return 0;
    }
}


static void
ngx_gcs_api_links_key(ngx_gcs_api_links_t *links)
{
    if (links->depth != 1) {
        return;
    }

    links->root = NGX_GCS_API_ELSEWHERE;

    if (links->len == sizeof("items") - 1
        && ngx_memcmp(links->key, "items", links->len) == 0)
    {
        links->root = NGX_GCS_API_ITEMS;

    } else if (links->len == sizeof("resource") - 1
               && ngx_memcmp(links->key, "resource", links->len) == 0)
    {
        links->root = NGX_GCS_API_RESOURCE;
    }
}


/* the beginning of a link, until it is known whether it leads to Google */

static ngx_int_t
ngx_gcs_api_links_held(ngx_gcs_api_links_t *links, u_char **pos,
    u_char *last, ngx_str_t *text)
{
    ngx_str_t   *prefix;
    ngx_uint_t   possible;

    while (*pos < last) {

        possible = 0;

        if (links->len < sizeof(links->held)) {
            links->held[links->len] = **pos;

            for (prefix = links->prefixes; prefix->len; prefix++) {

                if (prefix->len <= links->len
                    || ngx_memcmp(prefix->data, links->held, links->len + 1)
                       != 0)
                {
                    continue;
                }

                if (prefix->len == links->len + 1) {
                    (*pos)++;

                    links->holding = 0;
                    links->len = 0;
                    *text = links->origin;

                    return NGX_DONE;
                }

                possible = 1;
            }
        }

        if (!possible) {

            /* what is held is passed, and this byte is read as any other */

            links->holding = 0;

            text->data = links->held;
            text->len = links->len;

            links->len = 0;

            if (text->len == 0) {
                return ngx_gcs_api_links(links, pos, last, text);
            }

            return NGX_DONE;
        }

        links->len++;
        (*pos)++;
    }

    return NGX_AGAIN;
}
