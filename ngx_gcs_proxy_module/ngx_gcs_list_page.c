
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list_parts.h"
#include "ngx_gcs_object.h"


static void ngx_gcs_list_json_item(ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry, ngx_gcs_list_out_t *out);
static void ngx_gcs_list_json_text(ngx_gcs_list_out_t *out, char *key,
    ngx_str_t *value);
static ngx_uint_t ngx_gcs_list_within(ngx_gcs_list_page_t *page,
    ngx_gcs_list_entry_t *entry);


u_char *
ngx_gcs_list_head(ngx_gcs_list_page_t *page, u_char *p, u_char *last)
{
    ngx_gcs_list_out_t  out;

    out.pos = p;
    out.end = last;
    out.full = 0;

    if (page->format == NGX_GCS_LIST_HTML) {
        ngx_gcs_list_html_head(page, &out);

    } else if (page->format == NGX_GCS_LIST_JSON) {
        ngx_gcs_list_out(&out, "[");
    }

    return out.full ? NULL : out.pos;
}


u_char *
ngx_gcs_list_item(ngx_gcs_list_page_t *page, ngx_gcs_list_entry_t *entry,
    u_char *p, u_char *last)
{
    ngx_gcs_list_out_t  out;

    out.pos = p;
    out.end = last;
    out.full = 0;

    if (page->format == NGX_GCS_LIST_HTML) {
        ngx_gcs_list_html_item(page, entry, &out);

    } else {

        if (page->format == NGX_GCS_LIST_JSON) {
            ngx_gcs_list_out(&out, page->count ? ",\n" : "\n");
        }

        ngx_gcs_list_json_item(page, entry, &out);

        if (page->format == NGX_GCS_LIST_JSONL) {
            ngx_gcs_list_out(&out, "\n");
        }
    }

    if (out.full) {
        return NULL;
    }

    page->count++;

    return out.pos;
}


u_char *
ngx_gcs_list_tail(ngx_gcs_list_page_t *page, ngx_str_t *token, u_char *p,
    u_char *last)
{
    ngx_gcs_list_out_t  out;

    out.pos = p;
    out.end = last;
    out.full = 0;

    if (page->format == NGX_GCS_LIST_HTML) {
        ngx_gcs_list_html_tail(page, token, &out);
        return out.full ? NULL : out.pos;
    }

    if (token->len) {

        if (page->format == NGX_GCS_LIST_JSON) {
            ngx_gcs_list_out(&out, page->count ? ",\n" : "\n");
        }

        ngx_gcs_list_out(&out, "{\"type\":\"next\"");
        ngx_gcs_list_json_text(&out, ",\"token\":\"", token);
        ngx_gcs_list_out(&out, "}");

        if (page->format == NGX_GCS_LIST_JSONL) {
            ngx_gcs_list_out(&out, "\n");
        }
    }

    if (page->format == NGX_GCS_LIST_JSON) {
        ngx_gcs_list_out(&out, "\n]\n");
    }

    return out.full ? NULL : out.pos;
}


static void
ngx_gcs_list_json_item(ngx_gcs_list_page_t *page, ngx_gcs_list_entry_t *entry,
    ngx_gcs_list_out_t *out)
{
    ngx_str_t  rest;

    ngx_gcs_list_out(out, entry->folder ? "{\"type\":\"folder\""
                                        : "{\"type\":\"object\"");

    ngx_gcs_list_json_text(out, ",\"name\":\"", &entry->name);

    if (entry->size >= 0) {
        ngx_gcs_list_out(out, ",\"size\":");
        ngx_gcs_list_out_number(out, entry->size);
    }

    ngx_gcs_list_json_text(out, ",\"updated\":\"", &entry->updated);
    ngx_gcs_list_json_text(out, ",\"contentType\":\"", &entry->content_type);
    ngx_gcs_list_json_text(out, ",\"generation\":\"", &entry->generation);
    ngx_gcs_list_json_text(out, ",\"md5Hash\":\"", &entry->md5);

    ngx_gcs_list_out(out, ",\"uri\":\"gs://");
    ngx_gcs_list_out_json(out, page->bucket.data, page->bucket.len);
    ngx_gcs_list_out(out, "/");
    ngx_gcs_list_out_json(out, entry->name.data, entry->name.len);
    ngx_gcs_list_out(out, "\"");

    if (ngx_gcs_list_reachable(page, entry)) {
        rest = ngx_gcs_list_rest(page, entry);

        ngx_gcs_list_out(out, ",\"url\":\"");
        ngx_gcs_list_out_link(page, &rest, out);
        ngx_gcs_list_out(out, "\"");
    }

    ngx_gcs_list_out(out, "}");
}


/* what is not known is not there */

static void
ngx_gcs_list_json_text(ngx_gcs_list_out_t *out, char *key, ngx_str_t *value)
{
    if (value->len) {
        ngx_gcs_list_out(out, key);
        ngx_gcs_list_out_json(out, value->data, value->len);
        ngx_gcs_list_out(out, "\"");
    }
}


/* a link that begins with two slashes would lead to another host */

void
ngx_gcs_list_out_link(ngx_gcs_list_page_t *page, ngx_str_t *rest,
    ngx_gcs_list_out_t *out)
{
    size_t  skip;

    skip = (page->base.len == 1 && rest->len && rest->data[0] == '/');

    ngx_gcs_list_out_path(out, page->base.data, page->base.len);

    if (skip) {
        ngx_gcs_list_out(out, "%2F");
    }

    ngx_gcs_list_out_path(out, rest->data + skip, rest->len - skip);
}


ngx_str_t
ngx_gcs_list_rest(ngx_gcs_list_page_t *page, ngx_gcs_list_entry_t *entry)
{
    ngx_str_t  rest;

    rest = entry->name;

    if (ngx_gcs_list_within(page, entry)) {
        rest.data += page->prefix.len;
        rest.len -= page->prefix.len;
    }

    return rest;
}


/*
 * Who resolves a URL would lose "." and "..", and what may not be a name is
 * refused here, too.
 */

ngx_uint_t
ngx_gcs_list_reachable(ngx_gcs_list_page_t *page, ngx_gcs_list_entry_t *entry)
{
    return page->base.len
           && ngx_gcs_object_check(&entry->name) == NULL
           && !ngx_gcs_object_dot_segment(&entry->name)
           && entry->name.len > page->prefix.len
           && ngx_gcs_list_within(page, entry);
}


static ngx_uint_t
ngx_gcs_list_within(ngx_gcs_list_page_t *page, ngx_gcs_list_entry_t *entry)
{
    return page->prefix.len == 0
           || (entry->name.len >= page->prefix.len
               && ngx_memcmp(entry->name.data, page->prefix.data,
                             page->prefix.len)
                  == 0);
}
